// Times BN with add and ReLU on stage 1 and 3 of a ResNet-56 (batch 128): these kernels with all channels stored and
// with half of them, and LibTorch's operators.
//
//   bazel run //ml/kernels/batch_norm:batch_norm_benchmark
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include <vector>

#include "ml/kernels/batch_norm/batch_norm.h"

namespace prunelab {
namespace {

struct Data {
  int64_t rows, channels, stored;
  std::vector<int32_t> position;
  at::Tensor y, addend, out, gradient, gated, dy, dy_stored, scale, shift, mean;
  std::vector<double> inverse, of_mean, of_variance, dgamma, dbeta;

  // Arguments: channels, image size, whether half of the channels are stored.
  explicit Data(const benchmark::State& state)
      : rows(128 * state.range(1) * state.range(1)),
        channels(state.range(0)),
        stored(state.range(2) ? channels / 2 : channels) {
    if (stored < channels) {
      for (int32_t j = 0; j < stored; ++j) position.push_back(2 * j + (j % 3 == 0));
    }
    const auto full = [&] { return at::randn({rows, channels}); };
    y = at::randn({rows, stored});
    addend = full();
    out = full();
    gradient = full();
    gated = full();
    dy = full();
    if (stored < channels) dy_stored = at::randn({rows, stored});
    scale = at::ones({channels});
    shift = at::zeros({channels});
    mean = at::zeros({channels});
    for (auto* values : {&inverse, &of_mean, &of_variance, &dgamma, &dbeta}) values->resize(channels, 1);
  }
  BatchNormLayout layout() const { return {rows, channels, stored, position.empty() ? nullptr : position.data()}; }
};

void BM_Forward(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) {
    BatchNormForward(data.layout(), data.y.data_ptr<float>(), data.scale.data_ptr<float>(),
                     data.shift.data_ptr<float>(), data.addend.data_ptr<float>(), true, data.out.data_ptr<float>());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * 4 * data.rows * (data.stored + 2 * data.channels));
}

void BM_Statistics(benchmark::State& state) {
  Data data(state);
  const BatchNormLayout layout = {data.rows, data.stored, data.stored, nullptr};
  for (auto _ : state) {
    BatchNormStatistics(layout, data.y.data_ptr<float>(), data.of_mean.data(), data.of_variance.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * 4 * data.rows * data.stored);
}

void BM_Backward(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) {
    BatchNormBackward(data.layout(), data.gradient.data_ptr<float>(), data.y.data_ptr<float>(),
                      data.out.data_ptr<float>(), data.scale.data_ptr<float>(), data.shift.data_ptr<float>(),
                      data.mean.data_ptr<float>(), data.inverse.data(), true, data.gated.data_ptr<float>(),
                      data.dgamma.data(), data.dbeta.data(), data.dy.data_ptr<float>(),
                      data.dy_stored.defined() ? data.dy_stored.data_ptr<float>() : nullptr);
    benchmark::ClobberMemory();
  }
  // Read: gradient, output, y; then the gated gradient and y again. Written: the gated gradient, dy and its part.
  const int64_t part = data.stored < data.channels ? data.stored : 0;
  state.SetBytesProcessed(state.iterations() * 4 * data.rows * (5 * data.channels + 2 * data.stored + part));
}

void BM_LibTorchForward(benchmark::State& state) {
  Data data(state);
  const int64_t size = state.range(1);
  const auto image = [&](const at::Tensor& rows) {
    return rows.view({128, size, size, data.channels}).permute({0, 3, 1, 2});
  };
  const at::Tensor x = image(data.out), addend = image(data.addend);
  for (auto _ : state) {
    at::Tensor out = at::batch_norm(x, data.scale, data.shift, {}, {}, true, 0.1, 1e-5, false);
    benchmark::DoNotOptimize(out.add_(addend).relu_());
  }
}

#define PRUNELAB_SIZES Args({16, 32, 0})->Args({16, 32, 1})->Args({64, 8, 0})->Args({64, 8, 1})
BENCHMARK(BM_Statistics)->PRUNELAB_SIZES;
BENCHMARK(BM_Forward)->PRUNELAB_SIZES;
BENCHMARK(BM_Backward)->PRUNELAB_SIZES;
BENCHMARK(BM_LibTorchForward)->Args({16, 32, 0})->Args({64, 8, 0});

}  // namespace
}  // namespace prunelab
