#include "ml/kernels/random_bools/random_bools.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "ml/kernels/instruction_set.h"

namespace prunelab {
namespace {

std::vector<bool> Drawn(double probability, int64_t count, uint64_t step = 5) {
  // Bools that are not overwritten would show, and so would one that is written past the end.
  const std::unique_ptr<bool[]> out(new bool[count + 1]);
  out[count] = true;
  RandomBools(RandomStream(3, "dropout/drop", 1, step), probability, count, out.get());
  EXPECT_TRUE(out[count]);
  return std::vector<bool>(out.get(), out.get() + count);
}

std::vector<bool> OneByOne(double probability, int64_t count) {
  RandomStream stream(3, "dropout/drop", 1, 5);
  std::vector<bool> bools(count);
  for (int64_t i = 0; i < count; ++i) bools[i] = stream.Next32() < probability * 0x1p32;
  return bools;
}

TEST(RandomBoolsTest, AreTheStreamsNumbersForEachInstructionSetAndAnyNumberOfThreads) {
  const InstructionSet best = BestInstructionSet();
  for (const InstructionSet set : {InstructionSet::kGeneric, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (!HasInstructionSet(set)) continue;
    SCOPED_TRACE(Name(set));
    SetInstructionSet(set);
    for (const int threads : {1, 3}) {
      at::set_num_threads(threads);
      for (const int64_t count : {0, 1, 3, 4, 127, 128, 129, 65536, 65537, 200003}) {
        EXPECT_EQ(Drawn(0.75, count), OneByOne(0.75, count)) << count;
      }
    }
  }
  SetInstructionSet(best);
}

TEST(RandomBoolsTest, ProbabilitiesAtTheEnds) {
  for (const double probability : {0.0, 1e-12, 1e-9, 0.5, 1 - 1e-9, 1 - 1e-12, 1.0}) {
    const double rounded = std::round(probability * 0x1p32) * 0x1p-32;
    EXPECT_EQ(Drawn(probability, 1000), OneByOne(rounded, 1000)) << probability;
  }
  EXPECT_EQ(Drawn(0, 1000), std::vector<bool>(1000, false));
  EXPECT_EQ(Drawn(1, 1000), std::vector<bool>(1000, true));
}

// The chi-square of pairs of neighbours beside independent draws: below its 99.99 % quantile for four cells.
TEST(RandomBoolsTest, NeighboursAreIndependent) {
  constexpr int64_t kCount = 400000;
  for (const double p : {0.2, 0.5, 0.9}) {
    const std::vector<bool> bools = Drawn(p, kCount);
    double seen[2][2] = {};
    for (int64_t i = 0; i < kCount; i += 2) ++seen[bools[i]][bools[i + 1]];
    double chi_square = 0;
    for (const int a : {0, 1}) {
      for (const int b : {0, 1}) {
        const double expected = kCount / 2 * (a ? p : 1 - p) * (b ? p : 1 - p);
        chi_square += (seen[a][b] - expected) * (seen[a][b] - expected) / expected;
      }
    }
    EXPECT_LT(chi_square, 21.1) << p;
  }
}

TEST(RandomBoolsDeathTest, OnlyOfANewStream) {
  RandomStream used(3, "dropout/drop");
  used.Next32();
  bool out[4];
  EXPECT_DEATH(RandomBools(used, 0.5, 4, out), "drawn from");
  EXPECT_DEATH(RandomBools(RandomStream(3, ""), 1.5, 4, out), "probability 1.5");
}

}  // namespace
}  // namespace prunelab
