// Times the depthwise convolutions of a MobileNetV2 for small images (batch 128) and of an EfficientNet-B0, by these
// kernels and by the library (arguments: channels, image size, kernel, stride). They are bound by memory, so bytes are
// counted: what must be read and written once.
//
//   bazel run //ml/kernels/depthwise:depthwise_benchmark
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include <array>

#include "ml/kernels/depthwise/depthwise.h"

namespace prunelab {
namespace {

constexpr int64_t kImages = 128;

struct Data {
  DepthwiseShape shape;
  at::Tensor x, y, weight;  // channels_last
  explicit Data(const benchmark::State& state) {
    const int64_t channels = state.range(0), size = state.range(1), kernel = state.range(2), stride = state.range(3);
    const DepthwiseAxis axis{size, (size - 1) / stride + 1, kernel, stride, kernel / 2};
    shape = {kImages, channels, axis, axis};
    const auto channels_last = at::MemoryFormat::ChannelsLast;
    x = at::randn({kImages, channels, size, size}).contiguous(channels_last);
    y = at::randn({kImages, channels, axis.outputs, axis.outputs}).contiguous(channels_last);
    weight = at::randn({channels, 1, kernel, kernel});
  }
  void Count(benchmark::State& state) const {
    state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * (x.numel() + y.numel()) * 4);
  }
  at::Tensor Library() const { return at::conv2d(x, weight, {}, shape.down.stride, shape.down.padding, 1, x.size(1)); }
  void LibraryBackward(bool input, bool of_weight) const {
    const int64_t stride = shape.down.stride, padding = shape.down.padding;
    const std::array<bool, 3> wanted = {input, of_weight, false};
    benchmark::DoNotOptimize(at::convolution_backward(y, x, weight, at::OptionalIntArrayRef(), {stride, stride},
                                                      {padding, padding}, {1, 1}, false, {0, 0}, x.size(1), wanted));
  }
};

void BM_Forward(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) {
    DepthwiseForward(data.shape, data.x.data_ptr<float>(), data.weight.data_ptr<float>(), {}, data.y.data_ptr<float>());
    benchmark::ClobberMemory();
  }
  data.Count(state);
}

void BM_LibraryForward(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) benchmark::DoNotOptimize(data.Library());
  data.Count(state);
}

void BM_InputGradient(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) {
    DepthwiseInputGradient(data.shape, data.y.data_ptr<float>(), data.weight.data_ptr<float>(),
                           data.x.data_ptr<float>());
    benchmark::ClobberMemory();
  }
  data.Count(state);
}

void BM_LibraryInputGradient(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) data.LibraryBackward(true, false);
  data.Count(state);
}

void BM_WeightGradient(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) {
    DepthwiseWeightGradient(data.shape, data.x.data_ptr<float>(), data.y.data_ptr<float>(),
                            data.weight.data_ptr<float>());
    benchmark::ClobberMemory();
  }
  data.Count(state);
}

void BM_LibraryWeightGradient(benchmark::State& state) {
  Data data(state);
  for (auto _ : state) data.LibraryBackward(false, true);
  data.Count(state);
}

void Shapes(benchmark::internal::Benchmark* benchmark) {
  for (const auto& shape : {std::array<int64_t, 4>{96, 32, 3, 1},
                            {144, 32, 3, 2},
                            {192, 16, 3, 1},
                            {384, 8, 3, 1},
                            {576, 8, 3, 2},
                            {960, 4, 3, 1},
                            {240, 28, 5, 1},
                            {672, 14, 5, 2}}) {
    benchmark->Args({shape[0], shape[1], shape[2], shape[3]});
  }
  benchmark->Unit(benchmark::kMillisecond)->UseRealTime();
}
BENCHMARK(BM_Forward)->Apply(Shapes);
BENCHMARK(BM_LibraryForward)->Apply(Shapes);
BENCHMARK(BM_InputGradient)->Apply(Shapes);
BENCHMARK(BM_LibraryInputGradient)->Apply(Shapes);
BENCHMARK(BM_WeightGradient)->Apply(Shapes);
BENCHMARK(BM_LibraryWeightGradient)->Apply(Shapes);

}  // namespace
}  // namespace prunelab
