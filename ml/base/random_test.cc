#include "ml/base/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

namespace prunelab {
namespace {

using ::testing::ElementsAre;

// The known answers of Random123 (kat_vectors, philox4x32 10).
TEST(PhiloxTest, KnownAnswers) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

// The values of tools/reference/data_digits.py. What a seed means must never change: results name their seeds.
TEST(RandomStreamTest, EqualsTheReference) {
  RandomStream words(2024, "shuffle", 3, 5);
  for (const uint32_t word : {0x7d3099f1u, 0xef472de9u, 0xd61dfdffu, 0xc569787eu, 0x48d635b5u, 0x478fc5a7u, 0x53e9e284u,
                              0x62d8b14fu, 0x5458c40du}) {
    EXPECT_EQ(words.Next32(), word);
  }
  EXPECT_EQ(RandomStream(7, "uniform").Uniform(), 0.09230318247924574);
  RandomStream shuffle(1, "shuffle");
  EXPECT_THAT(RandomPermutation(10, shuffle), ElementsAre(7, 0, 9, 5, 1, 6, 3, 4, 8, 2));
}

TEST(RandomStreamTest, TwoWordsMakeALongOneLowFirst) {
  RandomStream words(1, "x"), longs(1, "x");
  const uint64_t low = words.Next32(), high = words.Next32();
  EXPECT_EQ(longs.Next64(), low | high << 32);
}

TEST(RandomStreamTest, EveryPartOfTheKeyCounts) {
  std::set<uint64_t> first;
  int streams = 0;
  for (uint64_t seed : {0, 1, 2}) {
    for (const char* purpose : {"", "a", "b", "ab"}) {
      for (uint64_t a : {0, 1, 2}) {
        for (uint64_t b : {0, 1, 2}) {
          first.insert(RandomStream(seed, purpose, a, b).Next64());
          ++streams;
        }
      }
    }
  }
  EXPECT_EQ(first.size(), static_cast<size_t>(streams));
}

TEST(RandomStreamTest, SamplesOfEpochsDoNotShareStreams) {
  std::set<uint64_t> first;
  for (uint64_t epoch = 0; epoch < 300; ++epoch) {
    for (uint64_t sample = 0; sample < 300; ++sample) {
      first.insert(RandomStream(1, "augmentation", epoch, sample).Next64());
    }
  }
  EXPECT_EQ(first.size(), 90000u);
}

TEST(RandomStreamTest, UniformMoments) {
  RandomStream stream(3, "moments");
  constexpr int kDraws = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = stream.Uniform();
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);  // five standard errors
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 0.005);
}

TEST(RandomStreamTest, NormalMoments) {
  RandomStream stream(3, "normal");
  constexpr int kDraws = 100000;
  double sum = 0, squares = 0, fourth = 0, lag = 0, last = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = stream.Normal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
    lag += x * last;
    last = x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.016);
  EXPECT_NEAR(squares / kDraws, 1, 0.023);
  EXPECT_NEAR(fourth / kDraws, 3, 0.16);
  EXPECT_NEAR(lag / kDraws, 0, 0.016);  // the two of one Box-Muller pair are independent
}

TEST(RandomStreamTest, BelowIsUniform) {
  RandomStream stream(4, "below");
  int counts[6] = {};
  for (int i = 0; i < 60000; ++i) {
    const uint64_t x = stream.Below(6);
    ASSERT_LT(x, 6u);
    ++counts[x];
  }
  for (const int count : counts) EXPECT_NEAR(count, 10000, 460);  // five standard deviations
  EXPECT_EQ(stream.Below(1), 0u);
  // Near the top of the range a plain remainder would favour small numbers by two to one.
  const uint64_t n = (uint64_t{1} << 63) + (uint64_t{1} << 62);
  int small = 0;
  for (int i = 0; i < 3000; ++i) small += stream.Below(n) < uint64_t{1} << 62;
  EXPECT_NEAR(small, 1000, 130);
}

TEST(RandomStreamDeathTest, BelowZero) { EXPECT_DEATH(RandomStream(1, "x").Below(0), "Below\\(0\\)"); }

TEST(RandomPermutationTest, EachPermutationAlike) {
  std::map<std::vector<int64_t>, int> counts;
  for (uint64_t i = 0; i < 6000; ++i) {
    RandomStream stream(5, "permutations", i);
    ++counts[RandomPermutation(3, stream)];
  }
  EXPECT_EQ(counts.size(), 6u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 145);
}

TEST(RandomPermutationTest, HoldsEveryIndexOnce) {
  RandomStream stream(6, "large");
  std::vector<int64_t> order = RandomPermutation(1000, stream);
  std::sort(order.begin(), order.end());
  std::vector<int64_t> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
  EXPECT_TRUE(RandomPermutation(0, stream).empty());
}

}  // namespace
}  // namespace prunelab
