#include "ml/kernels/scatter_channels/scatter_channels.h"

#include <gtest/gtest.h>

#include <vector>

namespace prunelab {
namespace {

TEST(ScatterChannelsTest, PutsEachIntoItsPlace) {
  const std::vector<int64_t> index = {3, 0};
  const std::vector<float> x = {1, 2, 3, 4};
  std::vector<float> out(8, -1);
  ScatterChannels(2, 2, 4, index.data(), x.data(), out.data());
  EXPECT_EQ(out, (std::vector<float>{2, 0, 0, 1, 4, 0, 0, 3}));
}

TEST(ScatterChannelsTest, ManyRows) {
  constexpr int64_t kRows = 20000, kStored = 5, kChannels = 13;
  const std::vector<int64_t> index = {1, 2, 5, 8, 12};
  std::vector<double> x(kRows * kStored), out(kRows * kChannels, -1), wanted(kRows * kChannels, 0);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i % 1009) + 1;
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t k = 0; k < kStored; ++k) wanted[row * kChannels + index[k]] = x[row * kStored + k];
  }
  ScatterChannels(kRows, kStored, kChannels, index.data(), x.data(), out.data());
  EXPECT_EQ(out, wanted);
}

}  // namespace
}  // namespace prunelab
