// Measures the training batches per second, as images per second, in CIFAR-10's shape: bazel run
// //ml/data:batches_benchmark

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include "ml/data/batches.h"

namespace prunelab {
namespace {

void Measure(benchmark::State& state, at::ScalarType source, bool augment) {
  constexpr int64_t kImages = 10000, kBatch = 128;
  at::set_num_threads(static_cast<int>(state.range(0)));
  const at::Tensor pixels = at::arange(kImages * 3 * 32 * 32, at::kLong).remainder(251);
  const LabelledImages data = {pixels.view({kImages, 3, 32, 32}).to(source), at::zeros({kImages}, at::kLong)};
  Normalization normalization;
  normalization.mean = normalization.stddev = {0.5, 0.5, 0.5};
  TrainingBatches batches(data, normalization, {augment ? 4 : 0, augment}, kBatch, 1, at::kFloat, at::kCPU);
  int64_t index = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(batches.Get(0, index)->images);
    index = (index + 1) % (kImages / kBatch);
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}

void BM_BytesCropFlip(benchmark::State& state) { Measure(state, at::kByte, true); }
void BM_BytesPlain(benchmark::State& state) { Measure(state, at::kByte, false); }
void BM_FloatsCropFlip(benchmark::State& state) { Measure(state, at::kFloat, true); }

// The argument is the number of threads; the real time is how long a training step would wait.
BENCHMARK(BM_BytesCropFlip)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(BM_BytesPlain)->Arg(1)->UseRealTime();
BENCHMARK(BM_FloatsCropFlip)->Arg(1)->UseRealTime();

}  // namespace
}  // namespace prunelab
