#include "ml/execution/waiting_calls.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

namespace prunelab {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(WaitingCallsTest, ArithmeticWaitsForNothing) {
  const at::Tensor x = at::arange(6, at::kFloat).view({2, 3});
  EXPECT_THAT(WaitingCalls([&] {
                at::Tensor y = x.matmul(x.t()).relu_();
                y += at::where(y > 3, y, 0.5).sum();
                y.index_select(0, at::zeros({1}, at::kLong)).kthvalue(1);
              }),
              IsEmpty());
}

TEST(WaitingCallsTest, ValuesReadAndSizesThatDependOnValuesAreFound) {
  const at::Tensor x = at::arange(6, at::kFloat);
  EXPECT_THAT(WaitingCalls([&] { x.sum().item<float>(); }), ElementsAre("aten::_local_scalar_dense"));
  EXPECT_THAT(WaitingCalls([&] { (x > 3).nonzero(); }), ElementsAre("aten::nonzero"));
  // Indexing by a mask looks for what is not zero.
  EXPECT_THAT(WaitingCalls([&] { x.index({x > 3}); }), Contains("aten::nonzero"));
  EXPECT_THAT(WaitingCalls([&] { EXPECT_TRUE(at::equal(x, x)); }), ElementsAre("aten::equal"));
  EXPECT_THAT(WaitingCalls([&] { at::repeat_interleave(x, at::ones({6}, at::kLong)); }),
              Contains("aten::repeat_interleave"));
}

TEST(WaitingCallsTest, BackwardPassesAreLookedAtToo) {
  const at::Tensor x = at::arange(1, 4, at::kFloat).set_requires_grad(true);
  const at::Tensor y = at::prod(x * at::tensor({1.0f, 0.0f, 2.0f}));  // the gradient needs to know where it is zero
  EXPECT_THAT(WaitingCalls([&] { torch::autograd::grad({y}, {x}); }), Contains("aten::nonzero"));
}

TEST(WaitingCallsTest, TheOptimizersLearningRateIsNotCounted) {
  const std::vector<at::Tensor> weights = {at::ones({3})}, gradients = {at::ones({3})}, momentum = {at::zeros({3})};
  const at::Tensor rate = at::full({}, 0.5);
  EXPECT_THAT(WaitingCalls([&] { at::_fused_sgd_(weights, gradients, momentum, 0, 0.9, rate, 0, false, false, true); }),
              IsEmpty());
  EXPECT_EQ(weights[0][0].item<float>(), 0.5f);
  EXPECT_THAT(WaitingCalls([&] { rate.item<double>(); }), ElementsAre("aten::_local_scalar_dense"));
}

TEST(WaitingCallsWatchTest, CountsUpToNow) {
  const at::Tensor x = at::arange(6, at::kFloat);
  const WaitingCallsWatch watch;
  EXPECT_THAT(watch.counts(), IsEmpty());
  x.sum().item<float>();
  x.max().item<float>();
  EXPECT_THAT(watch.counts(), ElementsAre(std::make_pair("aten::_local_scalar_dense", 2)));
}

// On a GPU's host, values of tensors on the CPU are read without waiting.
TEST(WaitingCallsWatchTest, OnlyCallsOnTheDeviceThatIsAskedForAreCounted) {
  const at::Tensor x = at::arange(6, at::kFloat);
  {
    const WaitingCallsWatch watch(at::kCUDA);
    x.sum().item<float>();
    EXPECT_THAT(watch.counts(), IsEmpty());
  }
  const WaitingCallsWatch watch(at::kCPU);
  x.sum().item<float>();
  EXPECT_THAT(watch.counts(), ElementsAre(std::make_pair("aten::_local_scalar_dense", 1)));
}

// The meta device computes no values, so copies to it are seen as those to a GPU would be.
TEST(WaitingCallsWatchTest, CopiesBetweenDevicesWaitUnlessMemoryIsPageLocked) {
  const at::Tensor x = at::arange(6, at::kFloat);
  const at::Tensor elsewhere = at::empty({6}, at::TensorOptions().dtype(at::kFloat).device(at::kMeta));
  EXPECT_THAT(WaitingCalls([&] { elsewhere.copy_(x); }), ElementsAre("aten::copy_"));
  EXPECT_THAT(WaitingCalls([&] { elsewhere.copy_(x, /*non_blocking=*/true); }), ElementsAre("aten::copy_"));
  EXPECT_THAT(WaitingCalls([&] { at::empty({6}).copy_(x); }), IsEmpty());
}

TEST(WaitingCallsTest, OneAtATime) {
  EXPECT_DEATH(WaitingCalls([] { WaitingCalls([] {}); }), "already");
}

}  // namespace
}  // namespace prunelab
