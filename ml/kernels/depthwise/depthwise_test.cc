#include "ml/kernels/depthwise/depthwise.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "ml/kernels/instruction_set.h"

namespace prunelab {
namespace {

at::Tensor Values(at::IntArrayRef shape, double frequency) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return at::arange(n, at::kDouble).mul(frequency).sin().to(at::kFloat).view(shape);
}

// A tensor [images, channels, height, width] in float64 of memory that is [images, height, width, channels].
at::Tensor Image(const at::Tensor& rows) { return rows.to(at::kDouble).permute({0, 3, 1, 2}); }

DepthwiseAxis Axis(int64_t size, int64_t kernel, int64_t stride, int64_t padding) {
  return {size, (size + 2 * padding - kernel) / stride + 1, kernel, stride, padding};
}

std::string Name(const DepthwiseShape& shape) {
  const auto axis = [](const DepthwiseAxis& a) {
    return std::to_string(a.size) + " pixels, kernel " + std::to_string(a.kernel) + ", stride " +
           std::to_string(a.stride) + ", padding " + std::to_string(a.padding);
  };
  return std::to_string(shape.channels) + " channels; down: " + axis(shape.down) + "; across: " + axis(shape.across);
}

// Every vector width and every remainder of it; windows that are larger than the image, that leave out its last pixels,
// and that differ by axis.
std::vector<DepthwiseShape> Shapes() {
  std::vector<DepthwiseShape> shapes;
  for (const int64_t channels : {8, 9, 16, 23, 24, 40, 61}) {
    for (const int64_t kernel : {3, 5, 7}) {
      for (const int64_t stride : {1, 2}) {
        for (const int64_t padding : {int64_t{0}, kernel / 2, kernel - 1}) {
          for (const int64_t size : {7, 8, 19}) {
            shapes.push_back(
                {2, channels, Axis(size + 1, kernel, stride, padding), Axis(size, kernel, stride, padding)});
          }
        }
        shapes.push_back({3, channels, Axis(2, kernel, stride, kernel / 2), Axis(1, kernel, stride, kernel / 2)});
        shapes.push_back({1, channels, Axis(9, 1, 3 - stride, 0), Axis(33, kernel, stride, 1)});
        shapes.push_back({2, channels, Axis(6, 4, stride, 2), Axis(12, kernel, 3 - stride, kernel - 2)});
      }
    }
  }
  return shapes;
}

TEST(DepthwiseTest, EqualsLibTorchInFloat64) {
  const InstructionSet best = BestInstructionSet();
  const int threads = at::get_num_threads();
  int tested = 0;
  for (const InstructionSet set : {InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (!HasInstructionSet(set)) continue;
    SetInstructionSet(set);
    for (const DepthwiseShape& shape : Shapes()) {
      SCOPED_TRACE(Name(shape));
      ASSERT_TRUE(HasDepthwise(shape));
      at::set_num_threads(1 + ++tested % 2);
      const int64_t channels = shape.channels;
      const std::vector<int64_t> of_x = {shape.images, shape.down.size, shape.across.size, channels};
      const std::vector<int64_t> of_y = {shape.images, shape.down.outputs, shape.across.outputs, channels};
      const at::Tensor x = Values(of_x, 1.3),
                       weight = Values({channels, 1, shape.down.kernel, shape.across.kernel}, 0.7);
      const at::Tensor dy = Values(of_y, 2.1);
      const std::vector<int64_t> strides = {shape.down.stride, shape.across.stride};
      const std::vector<int64_t> pads = {shape.down.padding, shape.across.padding};

      const at::Tensor y = at::full(of_y, NAN);
      DepthwiseForward(shape, x.data_ptr<float>(), weight.data_ptr<float>(), {}, y.data_ptr<float>());
      const at::Tensor expected = at::conv2d(Image(x), weight.to(at::kDouble), {}, strides, pads, 1, channels);
      ASSERT_EQ(Image(y).sizes(), expected.sizes());
      EXPECT_LT((Image(y) - expected).abs().max().item<double>(), 1e-5);

      const at::Tensor bias = Values({channels}, 0.9);
      const DepthwiseOutput output{bias.data_ptr<float>(), -0.25f, 0.75f};
      const at::Tensor clipped = at::full(of_y, NAN);
      DepthwiseForward(shape, x.data_ptr<float>(), weight.data_ptr<float>(), output, clipped.data_ptr<float>());
      const at::Tensor of_clip = (expected + bias.to(at::kDouble).view({1, -1, 1, 1})).clamp(-0.25, 0.75);
      EXPECT_LT((Image(clipped) - of_clip).abs().max().item<double>(), 1e-5);

      const auto [of_input, of_weight, unused] =
          at::convolution_backward(Image(dy), Image(x), weight.to(at::kDouble), at::OptionalIntArrayRef(), strides,
                                   pads, {1, 1}, false, {0, 0}, channels, {true, true, false});
      const at::Tensor dx = at::full(of_x, NAN), dweight = at::full(weight.sizes(), NAN);
      DepthwiseInputGradient(shape, dy.data_ptr<float>(), weight.data_ptr<float>(), dx.data_ptr<float>());
      EXPECT_LT((Image(dx) - of_input).abs().max().item<double>(), 1e-5);
      DepthwiseWeightGradient(shape, x.data_ptr<float>(), dy.data_ptr<float>(), dweight.data_ptr<float>());
      EXPECT_LT((dweight.to(at::kDouble) - of_weight).abs().max().item<double>(), 1e-4);
    }
  }
  EXPECT_GT(tested, 0) << "a processor without AVX2";
  at::set_num_threads(threads);
  SetInstructionSet(best);
}

TEST(DepthwiseTest, AnyNumberOfThreadsGivesTheSameBits) {
  const DepthwiseShape shape{5, 37, Axis(23, 5, 2, 2), Axis(21, 5, 2, 2)};
  const at::Tensor x = Values({5, 23, 21, 37}, 1.3), weight = Values({37, 5, 5}, 0.7);
  const at::Tensor dy = Values({5, shape.down.outputs, shape.across.outputs, 37}, 2.1);
  const int threads = at::get_num_threads();
  std::vector<at::Tensor> results[2];
  for (int i = 0; i < 2; ++i) {
    at::set_num_threads(1 + 2 * i);
    results[i] = {at::empty_like(dy), at::empty_like(x), at::empty_like(weight)};
    DepthwiseForward(shape, x.data_ptr<float>(), weight.data_ptr<float>(), {}, results[i][0].data_ptr<float>());
    DepthwiseInputGradient(shape, dy.data_ptr<float>(), weight.data_ptr<float>(), results[i][1].data_ptr<float>());
    DepthwiseWeightGradient(shape, x.data_ptr<float>(), dy.data_ptr<float>(), results[i][2].data_ptr<float>());
  }
  at::set_num_threads(threads);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << i;
}

// As LibTorch's clamp and ReLU.
TEST(DepthwiseTest, NaNPassesTheClip) {
  const DepthwiseShape shape{1, 8, Axis(3, 3, 1, 1), Axis(9, 3, 1, 1)};
  const at::Tensor x = at::ones({1, 3, 9, 8}), weight = at::ones({8, 3, 3}), y = at::empty_like(x);
  x[0][1][4][2] = NAN;
  DepthwiseForward(shape, x.data_ptr<float>(), weight.data_ptr<float>(), {nullptr, 0, 6}, y.data_ptr<float>());
  EXPECT_EQ(y.isnan().sum().item<int64_t>(), 9);
  EXPECT_EQ(y[0][1][1][0].item<float>(), 6);
}

TEST(DepthwiseTest, OtherConvolutionsAreLeftToTheLibrary) {
  const DepthwiseShape good{1, 8, Axis(9, 3, 1, 1), Axis(9, 3, 1, 1)};
  EXPECT_TRUE(HasDepthwise(good));
  for (int kind = 0; kind < 6; ++kind) {
    DepthwiseShape shape = good;
    if (kind == 0) shape.channels = 7;
    if (kind == 1) shape.across = Axis(9, 4, 1, 1);
    if (kind == 2) shape.across = Axis(9, 9, 1, 4);
    if (kind == 3) shape.down = Axis(9, 3, 3, 1);
    if (kind == 4) shape.down = Axis(9, 3, 1, 3);
    if (kind == 5) shape.down = Axis(20, 8, 1, 1);
    EXPECT_FALSE(HasDepthwise(shape)) << kind;
  }
}

}  // namespace
}  // namespace prunelab
