#include "ml/kernels/filter_importance.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <tuple>
#include <vector>

namespace prunelab {
namespace {

constexpr FilterImportanceKind kKinds[] = {FilterImportanceKind::kL1, FilterImportanceKind::kL2};

// The CPU, and the first GPU where program and machine have it.
std::vector<at::Device> Devices() {
  std::vector<at::Device> devices = {at::kCPU};
  if (HasCudaKernels() && at::hasCUDA()) devices.push_back(at::Device(at::kCUDA, 0));
  return devices;
}

at::Tensor RandomWeight(at::IntArrayRef shape, at::ScalarType dtype) {
  at::manual_seed(1);
  return at::randn(shape, dtype);
}

TEST(FilterImportanceTest, EqualsLibTorchsMeans) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const std::vector<std::vector<int64_t>> shapes = {{16, 3, 3, 3}, {64, 64, 3, 3}, {32, 16, 1, 1},
                                                      {1, 1, 1, 1},  {10, 64},       {7}};
    for (const std::vector<int64_t>& shape : shapes) {
      const at::Tensor weight = RandomWeight(shape, dtype);
      const at::Tensor exact = weight.to(at::kDouble).reshape({weight.size(0), -1});
      for (const at::Device device : Devices()) {
        for (const FilterImportanceKind kind : kKinds) {
          const at::Tensor expected = (kind == FilterImportanceKind::kL1 ? exact.abs() : exact.square()).mean(1);
          const at::Tensor importance = FilterImportance(weight.to(device), kind);
          EXPECT_EQ(importance.scalar_type(), dtype);
          EXPECT_EQ(importance.device(), device);
          ASSERT_EQ(importance.sizes(), expected.sizes());
          const at::Tensor difference = (importance.cpu().to(at::kDouble) - expected).abs() / expected;
          EXPECT_LE(difference.max().item<double>(), dtype == at::kFloat ? 6e-8 : 1e-15) << weight.sizes();
        }
      }
    }
  }
}

TEST(FilterImportanceTest, TakesAnyOrderOfMemory) {
  const at::Tensor weight = RandomWeight({8, 6, 3, 3}, at::kDouble);
  for (const at::Device device : Devices()) {
    for (const FilterImportanceKind kind : kKinds) {
      const at::Tensor expected = FilterImportance(weight.to(device), kind);
      const std::vector<at::Tensor> others = {
          weight.contiguous(at::MemoryFormat::ChannelsLast),
          weight.permute({3, 2, 1, 0}).contiguous().permute({3, 2, 1, 0}),  // filters are interleaved
          at::cat({weight, weight}, 1).narrow(1, 0, 6),                     // a slice
          weight.clone().requires_grad_(),
      };
      for (const at::Tensor& other : others) {
        const at::Tensor importance = FilterImportance(other.to(device), kind);
        EXPECT_LE((importance - expected).abs().max().item<double>(), 1e-15);
        EXPECT_FALSE(importance.requires_grad());
      }
    }
  }
}

TEST(FilterImportanceTest, DevicesGiveTheSameBits) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor weight = RandomWeight({37, 29, 3, 3}, dtype).contiguous(at::MemoryFormat::ChannelsLast);
    for (const FilterImportanceKind kind : kKinds) {
      const at::Tensor expected = FilterImportance(weight, kind);
      for (const at::Device device : Devices()) {
        EXPECT_TRUE(at::equal(FilterImportance(weight.to(device), kind).cpu(), expected)) << device;
      }
    }
  }
}

// The paper's mask: threshold = sorted[int(n * rate)], mask = importance > threshold, strictly.
TEST(ThresholdMaskTest, MasksTheAskedShareAndTies) {
  for (const at::Device device : Devices()) {
    const at::Tensor importance =
        FilterImportance(RandomWeight({50, 4, 3, 3}, at::kFloat).to(device), FilterImportanceKind::kL1);
    const at::Tensor threshold = std::get<0>(at::kthvalue(importance, 31));  // sorted[30]
    const at::Tensor mask = ThresholdMask(importance, threshold);
    EXPECT_EQ(mask.sum().item<float>(), 19);
    EXPECT_TRUE(at::equal(mask, importance.gt(threshold).to(at::kFloat)));
    EXPECT_EQ(
        ThresholdMask(at::ones({4}, importance.options()), at::ones({}, importance.options())).sum().item<float>(), 0);
    EXPECT_EQ(ThresholdMask(at::ones({2, 3}, importance.options()), at::zeros({1}, importance.options())).sizes(),
              at::IntArrayRef({2, 3}));
  }
}

}  // namespace
}  // namespace prunelab
