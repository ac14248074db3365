// Importances of a ResNet-56's widest layers: the kernel, the plain reference, and LibTorch.
//
//   bazel run //ml/kernels:filter_importance_benchmark
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "ml/kernels/filter_importance.h"
#include "ml/kernels/filter_importance_cpu.h"

namespace prunelab {
namespace {

at::Tensor Weight(const benchmark::State& state) {
  const int64_t width = state.range(0);
  return at::randn({width, width, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast);
}

void BM_Kernel(benchmark::State& state) {
  const at::Tensor weight = Weight(state);
  for (auto _ : state) benchmark::DoNotOptimize(FilterImportance(weight, FilterImportanceKind::kL1));
}

void BM_Reference(benchmark::State& state) {
  const at::Tensor weight = Weight(state);
  const at::Tensor importance = at::empty({weight.size(0)});
  for (auto _ : state) {
    FilterImportanceReference(weight.const_data_ptr<float>(), weight.size(0), weight.numel() / weight.size(0),
                              FilterImportanceKind::kL1, importance.mutable_data_ptr<float>());
    benchmark::ClobberMemory();
  }
}

void BM_LibTorch(benchmark::State& state) {
  const at::Tensor weight = Weight(state);
  for (auto _ : state) benchmark::DoNotOptimize(weight.abs().mean({1, 2, 3}));
}

BENCHMARK(BM_Kernel)->Arg(16)->Arg(32)->Arg(64);
BENCHMARK(BM_Reference)->Arg(16)->Arg(32)->Arg(64);
BENCHMARK(BM_LibTorch)->Arg(16)->Arg(32)->Arg(64);

}  // namespace
}  // namespace prunelab
