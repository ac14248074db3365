// Measures the most that this machine can do with all threads that LibTorch computes with: float32 multiply-adds by
// instruction set, and memory read and written, from arrays of 8 MB each, which is a stage-1 activation of a ResNet-56
// (batch 128), and of 64 MB, which is beyond most caches. It counts like STREAM: lines that are fetched only to be
// overwritten do not count.
//
//   bazel run //ml/kernels:machine_benchmark
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <vector>

#include "ml/kernels/instruction_set.h"
#include "ml/kernels/machine_bounds.h"
#include "ml/kernels/parallel_for.h"

namespace prunelab {
namespace {

MachineBounds BoundsOf(InstructionSet set) {
  return set == InstructionSet::kAvx512 ? avx512::Bounds() : avx2::Bounds();
}

void BM_MultiplyAdd(benchmark::State& state, InstructionSet set) {
  if (!HasInstructionSet(set)) {
    state.SkipWithError("this processor has no such instructions");
    return;
  }
  constexpr int64_t kRounds = 1000000;
  const MachineBounds bounds = BoundsOf(set);
  const int64_t threads = at::get_num_threads();
  for (auto _ : state) {
    ParallelFor(threads, [&](int64_t) { benchmark::DoNotOptimize(bounds.multiply_add(kRounds)); });
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * threads * kRounds * bounds.flops_per_round),
                         benchmark::Counter::kIsRate);
}

// Calls work(bounds, begin, size) for a part of the arrays on each thread; `arrays` are read or written.
template <typename Work>
void Stream(benchmark::State& state, int64_t arrays, const Work& work) {
  const InstructionSet set = BestInstructionSet();
  if (set == InstructionSet::kGeneric) {
    state.SkipWithError("this processor has no AVX2");
    return;
  }
  const MachineBounds bounds = BoundsOf(set);
  const int64_t threads = at::get_num_threads(), part = state.range(0) * (1 << 18) / threads / 256 * 256;
  std::vector<float> a(part * threads, 1), b(part * threads, 1), c(part * threads, 1);
  for (auto _ : state) {
    ParallelFor(threads, [&](int64_t thread) {
      work(bounds, a.data() + thread * part, b.data() + thread * part, c.data() + thread * part, part);
    });
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * arrays * threads * part * static_cast<int64_t>(sizeof(float)));
}

void BM_Read(benchmark::State& state) {
  Stream(state, 1, [](const MachineBounds& bounds, float* a, float*, float*, int64_t size) {
    benchmark::DoNotOptimize(bounds.read(a, size));
  });
}

void BM_Copy(benchmark::State& state) {
  Stream(state, 2,
         [](const MachineBounds& bounds, float* a, float* b, float*, int64_t size) { bounds.copy(a, b, size); });
}

void BM_Triad(benchmark::State& state) {
  Stream(state, 3,
         [](const MachineBounds& bounds, float* a, float* b, float* c, int64_t size) { bounds.triad(a, b, c, size); });
}

BENCHMARK_CAPTURE(BM_MultiplyAdd, avx2, InstructionSet::kAvx2)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_MultiplyAdd, avx512, InstructionSet::kAvx512)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Read)->Arg(8)->Arg(64)->ArgName("MB")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Copy)->Arg(8)->Arg(64)->ArgName("MB")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Triad)->Arg(8)->Arg(64)->ArgName("MB")->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace prunelab
