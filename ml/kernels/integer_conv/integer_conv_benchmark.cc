// Multiply-accumulates a second of 8-bit convolutions, one thread:
//
//   bazel run //ml/kernels/integer_conv:integer_conv_benchmark
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <vector>

#include "ml/base/random.h"
#include "ml/kernels/integer_conv/integer_conv.h"

namespace prunelab {
namespace {

// channels in, channels out, height and width, kernel, stride, whether depthwise
void Run(benchmark::State& state) {
  at::set_num_threads(1);
  IntegerConvWeights w;
  w.in_channels = state.range(0);
  w.out_channels = state.range(1);
  const int64_t size = state.range(2), kernel = state.range(3);
  for (IntegerConvAxis* axis : {&w.down, &w.across}) {
    axis->kernel = kernel;
    axis->stride = state.range(4);
    axis->before = axis->after = kernel / 2;
  }
  if (state.range(5) == 1) w.groups = w.in_channels;
  RandomStream stream(1, "weights");
  const int64_t weights = w.out_channels * w.in_channels / w.groups * kernel * kernel;
  for (int64_t i = 0; i < weights; ++i) w.levels.push_back(static_cast<int8_t>(127 * (2 * stream.Uniform() - 1)));
  w.bias.assign(w.out_channels, 1000);
  w.multiplier.assign(w.out_channels, int64_t{3} << 29);
  w.shift.assign(w.out_channels, 42);
  constexpr int64_t kImages = 8;
  std::vector<uint8_t> x(kImages * size * size * PlacesStride(w.in_channels) + 64, 3);
  const IntegerConvPlan plan(w, {size, size});
  std::vector<uint8_t> y(kImages * plan.output().height * plan.output().width * PlacesStride(w.out_channels) + 64);
  for (auto _ : state) {
    plan.Run(kImages, x.data(), y.data());
    benchmark::DoNotOptimize(y.data());
  }
  const double macs = static_cast<double>(kImages * plan.output().height * plan.output().width * weights);
  state.counters["GMAC/s"] =
      benchmark::Counter(macs * static_cast<double>(state.iterations()) / 1e9, benchmark::Counter::kIsRate);
}

BENCHMARK(Run)
    ->ArgNames({"in", "out", "size", "kernel", "stride", "depthwise"})
    ->Args({16, 16, 32, 3, 1, 0})
    ->Args({16, 32, 32, 3, 2, 0})
    ->Args({32, 32, 16, 3, 1, 0})
    ->Args({64, 64, 8, 3, 1, 0})
    ->Args({256, 256, 14, 3, 1, 0})
    ->Args({64, 256, 56, 1, 1, 0})
    ->Args({256, 64, 56, 1, 1, 0})
    ->Args({3, 64, 224, 7, 2, 0})
    ->Args({96, 96, 32, 3, 1, 1})
    ->Args({960, 960, 7, 3, 1, 1});

}  // namespace
}  // namespace prunelab
