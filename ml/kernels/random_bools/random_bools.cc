#include "ml/kernels/random_bools/random_bools.h"

#include <algorithm>
#include <cmath>

#include "ml/base/check.h"
#include "ml/kernels/instruction_set.h"
#include "ml/kernels/parallel_for.h"
#include "ml/kernels/random_bools/blocks.h"

namespace prunelab {
namespace {

constexpr int64_t kChunk = 1 << 16;  // bools that one thread draws at a time, a multiple of a block's

}  // namespace

void RandomBools(const RandomStream& stream, double probability, int64_t count, bool* out) {
  PRUNELAB_CHECK(stream.is_new()) << "a stream that something was drawn from";
  PRUNELAB_CHECK(probability >= 0 && probability <= 1) << "probability " << probability;
  const auto below = static_cast<uint64_t>(std::llround(probability * 0x1p32));
  if (below == 0 || below == uint64_t{1} << 32) {
    std::fill(out, out + count, below != 0);
    return;
  }
  const auto draw = ForBestInstructionSet(&avx512::DrawBools, &avx2::DrawBools, &generic::DrawBools);
  const BoolStream from = {{stream.key()[0], stream.key()[1]}, {stream.counter()[2], stream.counter()[3]}};
  const auto most = static_cast<uint32_t>(below - 1);
  ParallelFor((count + kChunk - 1) / kChunk, [&](int64_t i) {
    const int64_t begin = i * kChunk;
    draw(from, begin / 4, most, std::min(kChunk, count - begin), out + begin);
  });
}

}  // namespace prunelab
