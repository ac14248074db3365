// 3x3 convolutions of a ResNet-56 (batch 128) at its widths and at those that skipping leaves: this kernel and the
// library's. Arguments: in, out, image size.
//
//   bazel run //ml/kernels:conv3x3_benchmark
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "ml/kernels/conv3x3.h"

namespace prunelab {
namespace {

constexpr int64_t kImages = 128;

struct Data {
  int64_t in, out, size;
  at::Tensor x, y, weight;  // channels_last
  explicit Data(const benchmark::State& state) : in(state.range(0)), out(state.range(1)), size(state.range(2)) {
    const auto channels_last = at::MemoryFormat::ChannelsLast;
    x = at::randn({kImages, in, size, size}).contiguous(channels_last);
    y = at::randn({kImages, out, size, size}).contiguous(channels_last);
    weight = at::randn({out, in, 3, 3}).contiguous(channels_last);
  }
  void Count(benchmark::State& state) const {
    state.counters["FLOP/s"] =
        benchmark::Counter(static_cast<double>(2 * 9 * kImages * size * size * in * out * state.iterations()),
                           benchmark::Counter::kIsRate);
  }
};

void BM_Forward(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) {
    Conv3x3(kImages, data.size, data.size, data.in, data.out, {data.x.data_ptr<float>()}, data.weight.data_ptr<float>(),
            data.y.data_ptr<float>());
    benchmark::ClobberMemory();
  }
  data.Count(state);
}

void BM_LibraryForward(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) benchmark::DoNotOptimize(at::conv2d(data.x, data.weight, {}, 1, 1));
  data.Count(state);
}

void BM_InputGradient(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) {
    Conv3x3InputGradient(kImages, data.size, data.size, data.in, data.out, data.y.data_ptr<float>(),
                         data.weight.data_ptr<float>(), nullptr, data.x.data_ptr<float>());
    benchmark::ClobberMemory();
  }
  data.Count(state);
}

void BM_LibraryInputGradient(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(at::convolution_backward(data.y, data.x, data.weight, at::OptionalIntArrayRef(), {1, 1},
                                                      {1, 1}, {1, 1}, false, {0, 0}, 1, {true, false, false}));
  }
  data.Count(state);
}

void BM_WeightGradient(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) {
    Conv3x3WeightGradient(kImages, data.size, data.size, data.in, data.out, {data.x.data_ptr<float>()},
                          data.y.data_ptr<float>(), data.weight.data_ptr<float>());
    benchmark::ClobberMemory();
  }
  data.Count(state);
}

void BM_LibraryWeightGradient(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(at::convolution_backward(data.y, data.x, data.weight, at::OptionalIntArrayRef(), {1, 1},
                                                      {1, 1}, {1, 1}, false, {0, 0}, 1, {false, true, false}));
  }
  data.Count(state);
}

#define PRUNELAB_SIZES     \
  Args({8, 8, 32})         \
      ->Args({16, 8, 32})  \
      ->Args({8, 16, 32})  \
      ->Args({16, 16, 32}) \
      ->Args({32, 32, 16}) \
      ->Args({64, 64, 8})  \
      ->Args({24, 16, 16}) \
      ->Args({208, 208, 4})
BENCHMARK(BM_Forward)->PRUNELAB_SIZES;
BENCHMARK(BM_LibraryForward)->PRUNELAB_SIZES;
BENCHMARK(BM_InputGradient)->PRUNELAB_SIZES;
BENCHMARK(BM_LibraryInputGradient)->PRUNELAB_SIZES;
BENCHMARK(BM_WeightGradient)->PRUNELAB_SIZES;
BENCHMARK(BM_LibraryWeightGradient)->PRUNELAB_SIZES;

}  // namespace
}  // namespace prunelab
