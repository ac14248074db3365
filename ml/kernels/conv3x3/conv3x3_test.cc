#include "ml/kernels/conv3x3/conv3x3.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "ml/kernels/batch_norm/batch_norm.h"
#include "ml/kernels/instruction_set.h"

namespace prunelab {
namespace {

at::Tensor Values(at::IntArrayRef shape, double frequency) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return at::arange(n, at::kDouble).mul(frequency).sin().to(at::kFloat).view(shape);
}

// [images, channels, height, width] of memory that is [images, height, width, channels].
at::Tensor Image(const at::Tensor& rows) { return rows.to(at::kDouble).permute({0, 3, 1, 2}); }

TEST(Conv3x3Test, EqualsLibTorchInFloat64) {
  const InstructionSet best = BestInstructionSet();
  for (const InstructionSet set : {InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (!HasInstructionSet(set)) continue;
    SetInstructionSet(set);
    for (const int64_t in : {8, 16, 24, 64}) {
      for (const int64_t out : {8, 16, 56}) {
        for (const auto& [height, width] : {std::make_pair<int64_t, int64_t>(8, 8), {5, 19}, {1, 1}, {2, 3}}) {
          const at::Tensor x = Values({3, height, width, in}, 1.3), weight = Values({out, 3, 3, in}, 0.7);
          const at::Tensor y = at::empty({3, height, width, out}), dy = Values({3, height, width, out}, 2.1);
          const at::Tensor dx = at::empty_like(x), plain = at::empty_like(y);
          Conv3x3(3, height, width, in, out, {x.data_ptr<float>()}, weight.data_ptr<float>(), y.data_ptr<float>());
          const at::Tensor expected = at::conv2d(Image(x), Image(weight), {}, 1, 1);
          EXPECT_LT((Image(y) - expected).abs().max().item<double>(), 1e-4) << in << " " << out << " " << width;
          Conv3x3Reference(3, height, width, in, out, x.data_ptr<float>(), weight.data_ptr<float>(),
                           plain.data_ptr<float>());
          EXPECT_LT((Image(plain) - expected).abs().max().item<double>(), 1e-5);
          Conv3x3InputGradient(3, height, width, in, out, dy.data_ptr<float>(), weight.data_ptr<float>(), nullptr,
                               dx.data_ptr<float>());
          EXPECT_LT((Image(dx) - at::conv_transpose2d(Image(dy), Image(weight), {}, 1, 1)).abs().max().item<double>(),
                    1e-4);
          // Adding in the same pass gives the bits of adding after it.
          const at::Tensor addend = Values({3, height, width, in}, 3.1), sum = at::empty_like(x);
          Conv3x3InputGradient(3, height, width, in, out, dy.data_ptr<float>(), weight.data_ptr<float>(),
                               addend.data_ptr<float>(), sum.data_ptr<float>());
          EXPECT_TRUE(at::equal(sum, dx + addend)) << in << " " << out << " " << width;
          const at::Tensor dweight = at::empty_like(weight);
          Conv3x3WeightGradient(3, height, width, in, out, {x.data_ptr<float>()}, dy.data_ptr<float>(),
                                dweight.data_ptr<float>());
          const at::Tensor of_weight =
              std::get<1>(at::convolution_backward(Image(dy), Image(x), Image(weight), at::OptionalIntArrayRef(),
                                                   {1, 1}, {1, 1}, {1, 1}, false, {0, 0}, 1, {false, true, false}));
          EXPECT_LT((Image(dweight) - of_weight).abs().max().item<double>(), 1e-4);
        }
      }
    }
  }
  SetInstructionSet(best);
}

// BN and ReLU as the input is read give the bits that they give in a pass of their own.
TEST(Conv3x3Test, NormalizesWhatItReads) {
  const InstructionSet best = BestInstructionSet();
  for (const InstructionSet set : {InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (!HasInstructionSet(set)) continue;
    SetInstructionSet(set);
    for (const int64_t in : {8, 16, 40}) {
      for (const auto& [height, width] : {std::make_pair<int64_t, int64_t>(8, 8), {5, 19}, {2, 3}}) {
        const at::Tensor y = Values({3, height, width, in}, 1.3), weight = Values({24, 3, 3, in}, 0.7);
        const at::Tensor scale = Values({in}, 0.9), shift = Values({in}, 1.7), x = at::empty_like(y);
        y.view(-1)[5] = NAN;
        BatchNormForward<float>({3 * height * width, in, in, nullptr}, y.data_ptr<float>(), scale.data_ptr<float>(),
                                shift.data_ptr<float>(), nullptr, /*relu=*/true, x.data_ptr<float>());
        const Conv3x3Input inputs[] = {{x.data_ptr<float>()},
                                       {y.data_ptr<float>(), scale.data_ptr<float>(), shift.data_ptr<float>()}};
        const at::Tensor dz = Values({3, height, width, 24}, 2.1);
        at::Tensor z[2], dweight[2];
        for (int i = 0; i < 2; ++i) {
          z[i] = at::empty({3, height, width, 24});
          dweight[i] = at::empty_like(weight);
          Conv3x3(3, height, width, in, 24, inputs[i], weight.data_ptr<float>(), z[i].data_ptr<float>());
          Conv3x3WeightGradient(3, height, width, in, 24, inputs[i], dz.data_ptr<float>(),
                                dweight[i].data_ptr<float>());
        }
        EXPECT_TRUE(z[0].isnan().any().item<bool>());
        EXPECT_TRUE(at::allclose(z[0], z[1], 0, 0, /*equal_nan=*/true)) << in << " " << width;
        EXPECT_TRUE(at::allclose(dweight[0], dweight[1], 0, 0, /*equal_nan=*/true)) << in << " " << width;
      }
    }
  }
  SetInstructionSet(best);
}

// Everything that is made of a convolution's output, against LibTorch in float64: blocks that end in the middle of an
// image, placed channels, a result that lies where the addend was.
TEST(Conv3x3Test, FusedEqualsLibTorchInFloat64) {
  constexpr int64_t kImages = 3, kIn = 16;
  const InstructionSet best = BestInstructionSet();
  const int threads = at::get_num_threads();
  for (const InstructionSet set : {InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (!HasInstructionSet(set)) continue;
    SetInstructionSet(set);
    for (const auto& [out, channels] : {std::make_pair<int64_t, int64_t>(8, 8), {24, 24}, {8, 16}, {16, 40}}) {
      for (const auto& [height, width] : {std::make_pair<int64_t, int64_t>(8, 8), {5, 19}, {7, 6}}) {
        for (int kind = 0; kind < 16; ++kind) {
          SCOPED_TRACE(std::to_string(out) + " to " + std::to_string(channels) + ", width " + std::to_string(width) +
                       ", kind " + std::to_string(kind));
          const bool relu = kind & 1, has_addend = kind & 2, has_picture = kind & 4, in_place = (kind & 10) == 10;
          at::set_num_threads(1 + kind % 2);
          std::vector<int32_t> position;
          for (int64_t k = 0; k < out; ++k)
            position.push_back(static_cast<int32_t>(channels == out ? k : 2 * k + k / 7));
          const at::Tensor x = Values({kImages, height, width, kIn}, 1.3), weight = Values({out, 3, 3, kIn}, 0.7);
          const at::Tensor shift = Values({channels}, 0.9), picture = Values({1, height, width, channels}, 1.7);
          const at::Tensor addend = Values({kImages, height, width, channels}, 2.3);
          at::Tensor expected = at::zeros({kImages, channels, height, width}, at::kDouble);
          expected.index_copy_(1, at::tensor(std::vector<int64_t>(position.begin(), position.end())),
                               at::conv2d(Image(x), Image(weight), {}, 1, 1));
          expected += shift.to(at::kDouble).view({1, channels, 1, 1});
          if (has_addend) expected += Image(addend);
          if (has_picture) expected += Image(picture);
          if (relu) expected.relu_();
          const at::Tensor result = in_place ? addend : at::full_like(addend, -1);
          Conv3x3Output output;
          output.channels = channels;
          if (channels != out) output.position = position.data();
          output.shift = shift.data_ptr<float>();
          if (has_addend) output.addend = addend.data_ptr<float>();
          if (has_picture) output.picture = picture.data_ptr<float>();
          output.relu = relu;
          Conv3x3Fused(kImages, height, width, kIn, out, x.data_ptr<float>(), weight.data_ptr<float>(), output,
                       result.data_ptr<float>());
          EXPECT_LT((Image(result) - expected).abs().max().item<double>(), 1e-4);
        }
      }
    }
  }
  SetInstructionSet(best);
  at::set_num_threads(threads);
}

TEST(Conv3x3Test, FusedLetsNotANumberThrough) {
  const at::Tensor x = at::full({1, 4, 4, 8}, NAN), weight = Values({8, 3, 3, 8}, 0.7), shift = at::zeros({8});
  at::Tensor result = at::zeros({1, 4, 4, 8});
  Conv3x3Output output;
  output.channels = 8;
  output.shift = shift.data_ptr<float>();
  output.relu = true;
  Conv3x3Fused(1, 4, 4, 8, 8, x.data_ptr<float>(), weight.data_ptr<float>(), output, result.data_ptr<float>());
  EXPECT_TRUE(result.isnan().all().item<bool>());
}

TEST(Conv3x3Test, BitsDependOnNoNumberOfThreads) {
  const at::Tensor x = Values({21, 6, 7, 8}, 1.3), dy = Values({21, 6, 7, 16}, 2.1);
  const int threads = at::get_num_threads();
  at::Tensor results[2];
  for (const int count : {1, 3}) {
    at::set_num_threads(count);
    at::Tensor& result = results[count / 2] = at::empty({16, 3, 3, 8});
    Conv3x3WeightGradient(21, 6, 7, 8, 16, {x.data_ptr<float>()}, dy.data_ptr<float>(), result.data_ptr<float>());
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(results[0], results[1]));
}

TEST(Conv3x3Test, OddOrVeryManyChannelsAndSinglePixelsAreTheLibrarys) {
  EXPECT_TRUE(HasConv3x3(8, 64, 2, 2));
  EXPECT_FALSE(HasConv3x3(3, 16, 32, 32) || HasConv3x3(512, 512, 4, 4) || HasConv3x3(8, 8, 1, 1) ||
               HasConv3x3(8, 8, 32, 65));
  EXPECT_TRUE(HasConv3x3(256, 256, 8, 8) && HasConv3x3WeightGradient(128, 128, 8, 8));
  EXPECT_FALSE(HasConv3x3WeightGradient(256, 128, 8, 8));
}

}  // namespace
}  // namespace prunelab
