// Compares the fused batch normalization with LibTorch's operators and autograd in float64: on the CPU, on a CUDA
// device if program and machine have one, and with the device's threads one by one on the host, which must give the
// device's bits.

#include "ml/kernels/batch_norm/fused_batch_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <string>
#include <vector>

#include "ml/kernels/batch_norm/device_on_host.h"
#include "ml/kernels/testing/devices.h"

namespace prunelab {
namespace {

constexpr double kEpsilon = 1e-5, kMomentum = 0.3;

struct Case {
  int64_t images, channels, height, width;
  bool relu, addend;
};

// Channels that are and are not multiples of what a thread reads at once, fewer and more than a block has threads; rows
// that fill less than a block, several blocks, and more than a warp has lanes for. The last of them have their blocks'
// sums in three rounds of a warp's lanes.
std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const bool relu : {false, true}) {
    for (const bool addend : {false, true}) {
      cases.push_back({2, 1, 3, 3, relu, addend});
      cases.push_back({2, 16, 5, 7, relu, addend});
      cases.push_back({3, 37, 9, 11, relu, addend});
      cases.push_back({1, 300, 5, 5, relu, addend});
      cases.push_back({2, 1100, 3, 2, relu, addend});
      cases.push_back({8, 64, 32, 32, relu, addend});
    }
  }
  return cases;
}

std::string Name(const Case& test) {
  return std::to_string(test.images) + "x" + std::to_string(test.channels) + "x" + std::to_string(test.height) + "x" +
         std::to_string(test.width) + (test.addend ? " + addend" : "") + (test.relu ? " relu" : "");
}

at::Tensor Values(at::IntArrayRef shape, double frequency) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  const at::Tensor index = at::arange(n, at::kDouble);
  return (index.mul(frequency).sin() + index.mul(0.137).cos()).view(shape);
}

struct Inputs {
  at::Tensor y, addend, gradient, gamma, beta, running_mean, running_var;
  explicit Inputs(const Case& test) {
    const std::vector<int64_t> shape = {test.images, test.channels, test.height, test.width};
    y = Values(shape, 1.1) * 3 + 7;
    gradient = Values(shape, 2.3);
    if (test.addend) addend = Values(shape, 0.9);
    gamma = Values({test.channels}, 0.7);
    beta = Values({test.channels}, 0.3);
    running_mean = Values({test.channels}, 0.4);
    running_var = Values({test.channels}, 0.6).square() + 0.1;
  }
};

struct Results {
  at::Tensor out, dy, daddend, dgamma, dbeta, running_mean, running_var, evaluated;
  int64_t batches = 1;
};

at::Tensor As(const at::Tensor& tensor, at::ScalarType dtype, at::Device device) {
  if (!tensor.defined()) return tensor;
  const at::Tensor copy = at::empty(tensor.sizes(), at::TensorOptions(device).dtype(dtype));
  copy.copy_(tensor);
  return copy.dim() == 4 ? copy.contiguous(at::MemoryFormat::ChannelsLast) : copy;
}

Results Fused(const Case& test, at::ScalarType dtype, at::Device device) {
  const Inputs in(test);
  const auto as = [&](const at::Tensor& tensor) { return As(tensor, dtype, device); };
  BatchNormTensors norm;
  norm.gamma = as(in.gamma);
  norm.beta = as(in.beta);
  norm.running_mean = as(in.running_mean);
  norm.running_var = as(in.running_var);
  norm.num_batches_tracked = at::full({}, 6, at::TensorOptions(device).dtype(at::kLong));
  norm.epsilon = kEpsilon;
  norm.momentum = kMomentum;
  const at::Tensor y = as(in.y), addend = as(in.addend);
  Results results;
  results.evaluated = FusedBatchNormEvaluation(norm, y, addend, test.relu);
  FusedBatchNormResult forward = FusedBatchNormTraining(norm, y, addend, test.relu);
  results.out = forward.out;
  if (!(test.relu && test.addend)) forward.out = at::Tensor();
  const FusedBatchNormGradients gradients = FusedBatchNormBackward(forward, y, test.addend, test.relu, as(in.gradient));
  results.dy = gradients.y;
  results.daddend = gradients.addend;
  results.dgamma = gradients.gamma;
  results.dbeta = gradients.beta;
  results.running_mean = norm.running_mean;
  results.running_var = norm.running_var;
  results.batches = norm.num_batches_tracked.item<int64_t>() - 6;
  return results;
}

// The device's threads, on the host. `vector`: channels that a thread takes at once.
template <typename T>
Results OnHost(const Case& test, int vector) {
  const Inputs in(test);
  const auto as = [&](const at::Tensor& tensor) { return As(tensor, c10::CppTypeToScalarType<T>::value, at::kCPU); };
  const auto data = [](const at::Tensor& tensor) -> T* {
    return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
  };
  const at::Tensor y = as(in.y), addend = as(in.addend), gradient = as(in.gradient), gamma = as(in.gamma),
                   beta = as(in.beta);
  Results results;
  results.running_mean = as(in.running_mean);
  results.running_var = as(in.running_var);
  results.out = at::empty_like(y);
  results.evaluated = at::empty_like(y);
  results.dy = at::empty_like(y);
  if (test.addend) results.daddend = test.relu ? at::empty_like(y) : gradient;
  results.dgamma = at::empty_like(gamma);
  results.dbeta = at::empty_like(gamma);
  results.batches = 0;
  const at::Tensor scale = at::empty_like(gamma), shift = at::empty_like(gamma), mean = at::empty_like(gamma);
  const at::Tensor inverse = at::empty(gamma.sizes(), at::kDouble), of_y = at::empty_like(gamma),
                   constant = at::empty_like(gamma);
  const BatchNormGrid grid = MakeBatchNormGrid(y.numel() / test.channels, test.channels, vector);
  std::vector<double> partial(grid.partial_size(), std::nan(""));
  const BatchNormParameters<T> parameters = {
      data(gamma), data(beta), data(results.running_mean), data(results.running_var), &results.batches,
      kEpsilon,    kMomentum};
  BatchNormEvaluationOnHost<T>(grid, data(y), parameters, data(addend), test.relu, data(scale), data(shift),
                               data(results.evaluated));
  const BatchNormSaved<T> saved = {data(scale), data(shift), data(mean), inverse.data_ptr<double>()};
  BatchNormTrainingOnHost<T>(grid, data(y), parameters, data(addend), test.relu, partial.data(), saved,
                             data(results.out));
  const bool gated = test.relu && test.addend;
  std::fill(partial.begin(), partial.end(), std::nan(""));
  BatchNormBackwardOnHost<T>(grid, data(gradient), data(y), gated ? data(results.out) : nullptr, saved, test.relu,
                             partial.data(), gated ? data(results.daddend) : nullptr,
                             {data(results.dgamma), data(results.dbeta), data(of_y), data(constant)}, data(results.dy));
  return results;
}

// The same by LibTorch's operators and autograd, in float64.
Results LibTorch(const Case& test) {
  Inputs in(test);
  Results results;
  const auto behind = [&](at::Tensor out) {
    if (test.addend) out = out + in.addend;
    return test.relu ? at::relu(out) : out;
  };
  results.evaluated = behind(at::batch_norm(in.y, in.gamma, in.beta, in.running_mean, in.running_var,
                                            /*training=*/false, kMomentum, kEpsilon, false));
  for (at::Tensor* leaf : {&in.y, &in.gamma, &in.beta, &in.addend}) {
    if (leaf->defined()) leaf->set_requires_grad(true);
  }
  const at::Tensor out = behind(at::batch_norm(in.y, in.gamma, in.beta, in.running_mean, in.running_var,
                                               /*training=*/true, kMomentum, kEpsilon, false));
  std::vector<at::Tensor> leaves = {in.y, in.gamma, in.beta};
  if (test.addend) leaves.push_back(in.addend);
  const std::vector<at::Tensor> gradients = torch::autograd::grad({out}, leaves, {in.gradient});
  results.out = out.detach();
  results.dy = gradients[0];
  results.dgamma = gradients[1];
  results.dbeta = gradients[2];
  if (test.addend) results.daddend = gradients[3];
  results.running_mean = in.running_mean;
  results.running_var = in.running_var;
  return results;
}

// The largest difference relative to the largest value.
double Difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  const at::Tensor exact = b.to(at::kDouble);
  const at::Tensor difference = (a.to(at::kCPU, at::kDouble) - exact).abs().max() / exact.abs().max().clamp_min(1e-3);
  return difference.item<double>();
}

void ExpectNear(const Results& results, const Results& expected, const Case& test, double tolerance) {
  EXPECT_LT(Difference(results.evaluated, expected.evaluated), tolerance);
  EXPECT_LT(Difference(results.out, expected.out), tolerance);
  EXPECT_LT(Difference(results.running_mean, expected.running_mean), tolerance);
  EXPECT_LT(Difference(results.running_var, expected.running_var), tolerance);
  EXPECT_LT(Difference(results.dy, expected.dy), tolerance);
  EXPECT_LT(Difference(results.dgamma, expected.dgamma), tolerance);
  EXPECT_LT(Difference(results.dbeta, expected.dbeta), tolerance);
  EXPECT_EQ(results.daddend.defined(), test.addend);
  if (test.addend) EXPECT_LT(Difference(results.daddend, expected.daddend), tolerance);
  EXPECT_EQ(results.batches, expected.batches);
}

void ExpectSameBits(const Results& a, const Results& b) {
  const auto same = [](const at::Tensor& x, const at::Tensor& y) {
    return x.defined() == y.defined() && (!x.defined() || at::equal(x.cpu(), y.cpu()));
  };
  EXPECT_TRUE(same(a.evaluated, b.evaluated));
  EXPECT_TRUE(same(a.out, b.out));
  EXPECT_TRUE(same(a.running_mean, b.running_mean));
  EXPECT_TRUE(same(a.running_var, b.running_var));
  EXPECT_TRUE(same(a.dy, b.dy));
  EXPECT_TRUE(same(a.dgamma, b.dgamma));
  EXPECT_TRUE(same(a.dbeta, b.dbeta));
  EXPECT_TRUE(same(a.daddend, b.daddend));
}

// In float an output near 0 may be on the other side of the gate, which changes whole gradients: only cases without
// ReLU.
constexpr double kFloat = 5e-5, kDouble = 1e-12;

TEST(FusedBatchNormTest, EqualsLibTorch) {
  for (const Case& test : Cases()) {
    const Results expected = LibTorch(test);
    for (const at::Device device : Devices()) {
      SCOPED_TRACE(Name(test) + " on " + device.str());
      ExpectNear(Fused(test, at::kDouble, device), expected, test, kDouble);
      if (!test.relu) ExpectNear(Fused(test, at::kFloat, device), expected, test, kFloat);
    }
  }
}

TEST(FusedBatchNormTest, ThreadsOfTheDeviceEqualLibTorch) {
  for (const Case& test : Cases()) {
    SCOPED_TRACE(Name(test));
    const Results expected = LibTorch(test);
    ExpectNear(OnHost<double>(test, 1), expected, test, kDouble);
    if (test.channels % 2 == 0) ExpectNear(OnHost<double>(test, 2), expected, test, kDouble);
    if (test.relu) continue;
    ExpectNear(OnHost<float>(test, 1), expected, test, kFloat);
    if (test.channels % 4 == 0) ExpectNear(OnHost<float>(test, 4), expected, test, kFloat);
  }
}

TEST(FusedBatchNormTest, DeviceGivesTheBitsOfItsThreads) {
  const at::Device device = Devices().back();
  if (!device.is_cuda()) GTEST_SKIP() << "no CUDA device, or built without --config=cuda";
  for (const Case& test : Cases()) {
    SCOPED_TRACE(Name(test));
    ExpectSameBits(Fused(test, at::kFloat, device), OnHost<float>(test, test.channels % 4 == 0 ? 4 : 1));
    ExpectSameBits(Fused(test, at::kDouble, device), OnHost<double>(test, test.channels % 2 == 0 ? 2 : 1));
    ExpectSameBits(Fused(test, at::kFloat, device), Fused(test, at::kFloat, device));
  }
}

// Each element belongs to exactly one thread, and each thread has enough rows for its short sums, but not too many.
TEST(FusedBatchNormTest, BlocksCoverAllElementsOnce) {
  for (const int64_t rows : {1, 7, 1000, 131072, 3211264}) {
    for (const int64_t channels : {1, 3, 16, 37, 64, 1000, 2048}) {
      for (const int vector : {1, 4}) {
        if (channels % vector != 0) continue;
        const BatchNormGrid grid = MakeBatchNormGrid(rows, channels, vector);
        SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(channels) + " channels by " +
                     std::to_string(vector));
        EXPECT_LE(grid.columns * grid.lanes, kBatchNormThreads);
        EXPECT_LE(grid.tiles, 65535) << "more than a launch can have";
        EXPECT_LE(grid.chunk / grid.lanes, kMaxRowsOfThread);
        EXPECT_EQ((rows + grid.chunk - 1) / grid.chunk, grid.chunks);
        if (rows > 1000) continue;
        at::Tensor times = at::zeros({rows, channels}, at::kInt);
        int* const count = times.data_ptr<int>();
        on_host::ForThreads(grid, [&](const BatchNormPlace& place) {
          if (!place.active) return;
          for (int64_t row = place.begin; row < place.end; row += grid.lanes) {
            for (int v = 0; v < vector; ++v) ++count[row * channels + place.channel + v];
          }
        });
        EXPECT_TRUE(times.eq(1).all().item<bool>());
      }
    }
  }
}

TEST(FusedBatchNormTest, NotANumberIsNotLost) {
  for (const at::Device device : Devices()) {
    BatchNormTensors norm;
    norm.gamma = at::ones({2}, device);
    norm.beta = at::zeros({2}, device);
    norm.running_mean = at::zeros({2}, device);
    norm.running_var = at::ones({2}, device);
    norm.num_batches_tracked = at::zeros({}, at::TensorOptions(device).dtype(at::kLong));
    at::Tensor y = at::arange(16, at::TensorOptions(device).dtype(at::kFloat))
                       .view({2, 2, 2, 2})
                       .contiguous(at::MemoryFormat::ChannelsLast);
    y[0][1][0][0] = std::nan("");
    const at::Tensor out = FusedBatchNormTraining(norm, y, {}, /*relu=*/true).out.cpu();
    EXPECT_TRUE(out.select(1, 1).isnan().all().item<bool>());
    EXPECT_FALSE(out.select(1, 0).isnan().any().item<bool>());
    EXPECT_TRUE(norm.running_mean[1].isnan().item<bool>());
  }
}

TEST(FusedBatchNormDeathTest, OneValueAChannelHasNoVariance) {
  // If a process forks while its threads compute, the child would wait for them forever.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Fused({1, 3, 1, 1, false, false}, at::kFloat, at::kCPU), "one value a channel");
}

TEST(FusedBatchNormTest, WithoutDataNothingIsComputed) {
  const at::TensorOptions meta = at::TensorOptions(at::kMeta).dtype(at::kFloat);
  BatchNormTensors norm;
  for (at::Tensor* tensor : {&norm.gamma, &norm.beta, &norm.running_mean, &norm.running_var}) {
    *tensor = at::empty({6}, meta);
  }
  norm.num_batches_tracked = at::empty({}, meta.dtype(at::kLong));
  const at::Tensor y = at::empty({2, 6, 3, 3}, meta);
  const FusedBatchNormResult result = FusedBatchNormTraining(norm, y, y, /*relu=*/true);
  EXPECT_EQ(result.out.sizes(), y.sizes());
  EXPECT_TRUE(result.out.is_meta());
  EXPECT_EQ(FusedBatchNormBackward(result, y, true, true, y).addend.sizes(), y.sizes());
}

}  // namespace
}  // namespace prunelab
