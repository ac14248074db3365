// Times 3x3 convolutions of a ResNet-56 (batch 128) at its widths and at those that skipping leaves, by this kernel and
// by the library (arguments: in, out, image size), and those that are left to the library: the stem, strides,
// projections.
//
//   bazel run //ml/kernels/conv3x3:conv3x3_benchmark
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "ml/kernels/conv3x3/conv3x3.h"

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

// Arguments: in, out, image size, kernel size, stride; what is computed: 0 the output, 1 the input gradient, 2 the
// weight gradient.
void BM_LeftToTheLibrary(benchmark::State& state) {
  const int64_t in = state.range(0), out = state.range(1), size = state.range(2), kernel = state.range(3),
                stride = state.range(4), padding = kernel / 2;
  const auto channels_last = at::MemoryFormat::ChannelsLast;
  const at::Tensor x = at::randn({kImages, in, size, size}).contiguous(channels_last);
  const at::Tensor weight = at::randn({out, in, kernel, kernel}).contiguous(channels_last);
  const at::Tensor dy = at::randn_like(at::conv2d(x, weight, {}, stride, padding));
  for (auto _ : state) {
    if (state.range(5) == 0) {
      benchmark::DoNotOptimize(at::conv2d(x, weight, {}, stride, padding));
    } else {
      const bool of_input = state.range(5) == 1;
      benchmark::DoNotOptimize(at::convolution_backward(dy, x, weight, at::OptionalIntArrayRef(), {stride, stride},
                                                        {padding, padding}, {1, 1}, false, {0, 0}, 1,
                                                        {of_input, !of_input, false}));
    }
  }
  state.counters["FLOP/s"] = benchmark::Counter(
      static_cast<double>(2 * kernel * kernel * in * dy.numel() * state.iterations()), benchmark::Counter::kIsRate);
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
void LeftToTheLibrary(benchmark::internal::Benchmark* benchmark) {
  for (const int64_t what : {0, 1, 2}) {
    if (what != 1) benchmark->Args({3, 16, 32, 3, 1, what});  // the stem: the images need no gradient
    for (const int64_t kernel : {3, 1}) {
      benchmark->Args({16, 32, 32, kernel, 2, what});
      benchmark->Args({32, 64, 16, kernel, 2, what});
    }
  }
}
BENCHMARK(BM_LeftToTheLibrary)->Apply(LeftToTheLibrary);

}  // namespace
}  // namespace prunelab
