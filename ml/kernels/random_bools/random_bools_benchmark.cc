// Bools for a dropout of [128, 1024] features: all at once, and one by one.
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include "ml/kernels/random_bools/random_bools.h"

namespace prunelab {
namespace {

constexpr int64_t kCount = 128 * 1024;
bool g_out[kCount];

void BM_RandomBools(benchmark::State& state) {
  at::set_num_threads(static_cast<int>(state.range(0)));
  uint64_t step = 0;
  for (auto _ : state) {
    RandomBools(RandomStream(1, "dropout", 0, step++), 0.8, kCount, g_out);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kCount);
}
BENCHMARK(BM_RandomBools)->Arg(1)->Arg(2)->UseRealTime();

void BM_OneByOne(benchmark::State& state) {
  uint64_t step = 0;
  for (auto _ : state) {
    RandomStream stream(1, "dropout", 0, step++);
    for (bool& out : g_out) out = stream.Next32() < 3435973837u;
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kCount);
}
BENCHMARK(BM_OneByOne)->UseRealTime();

}  // namespace
}  // namespace prunelab
