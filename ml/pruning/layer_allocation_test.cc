#include "ml/pruning/layer_allocation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/random.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;

// Layers whose losses rise, with noise as a measurement has it, and savings that rise.
std::vector<LayerChoices> Drawn(uint64_t seed, size_t count, size_t choices) {
  std::vector<LayerChoices> layers;
  RandomStream stream(seed, "layers");
  for (size_t l = 0; l < count; ++l) {
    LayerChoices layer = {absl::StrCat("layer", l), {0}, {0}, {0}};
    const double steep = std::exp(stream.Normal()), size = 1 + 9 * stream.Uniform();
    for (size_t k = 1; k < choices; ++k) {
      const double rate = static_cast<double>(k) / static_cast<double>(choices);
      layer.rates.push_back(rate);
      layer.losses.push_back(steep * rate * rate + 0.05 * stream.Normal());
      layer.savings.push_back(size * rate);
    }
    layers.push_back(layer);
  }
  return layers;
}

// All combinations.
void ForEach(const std::vector<LayerChoices>& layers, const std::function<void(const std::vector<size_t>&)>& visit) {
  std::vector<size_t> choices(layers.size(), 0);
  for (;;) {
    visit(choices);
    size_t l = 0;
    while (l < layers.size() && ++choices[l] == layers[l].rates.size()) choices[l++] = 0;
    if (l == layers.size()) return;
  }
}

TEST(LayerAllocationTest, LeastLossIsTheBestOfAllCombinations) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<LayerChoices> layers = Drawn(seed, 6, 5);
    double all = 0;
    for (const LayerChoices& layer : layers) all += layer.savings.back();
    for (const double share : {0.0, 0.2, 0.5, 0.9, 1.0}) {
      const double wanted = share * all;
      double best = std::numeric_limits<double>::infinity();
      ForEach(layers, [&](const std::vector<size_t>& choices) {
        if (SavedBy(layers, choices) >= wanted - 1e-9) best = std::min(best, LostBy(layers, choices));
      });
      const auto found = LeastLoss(layers, wanted);
      ASSERT_TRUE(found.ok()) << found.status();
      EXPECT_NEAR(LostBy(layers, *found), best, 1e-9) << seed << " " << share;
      EXPECT_GE(SavedBy(layers, *found), wanted - 1e-6);
    }
  }
}

TEST(LayerAllocationTest, EqualLossByHand) {
  const std::vector<LayerChoices> layers = {{"a", {0, 0.5, 0.9}, {0, 0.1, 0.3}, {0, 4, 6}},
                                            {"b", {0, 0.5, 0.9}, {0, 0.2, 0.25}, {0, 1, 2}},
                                            {"c", {0, 0.5, 0.9}, {0, 0.4, 0.15}, {0, 8, 9}}};
  EXPECT_THAT(*EqualLoss(layers, 0), ElementsAre(0, 0, 0));
  EXPECT_THAT(*EqualLoss(layers, 4), ElementsAre(1, 0, 0));
  EXPECT_THAT(*EqualLoss(layers, 4.5), ElementsAre(1, 1, 0));  // 0.2; c is stopped by its first rate
  EXPECT_THAT(*EqualLoss(layers, 6), ElementsAre(1, 2, 0));
  EXPECT_THAT(*EqualLoss(layers, 8), ElementsAre(2, 2, 0));
  EXPECT_THAT(*EqualLoss(layers, 9), ElementsAre(2, 2, 2));
  EXPECT_FALSE(EqualLoss(layers, 17.5).ok());
}

TEST(LayerAllocationTest, LeastLossIsNeverWorseThanEqualLoss) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const std::vector<LayerChoices> layers = Drawn(seed, 50, 10);
    double all = 0;
    for (const LayerChoices& layer : layers) all += layer.savings.back();
    const auto equal = EqualLoss(layers, all / 2), least = LeastLoss(layers, all / 2);
    ASSERT_TRUE(equal.ok() && least.ok()) << equal.status() << least.status();
    EXPECT_LE(LostBy(layers, *least), LostBy(layers, *equal) + 1e-9);
    EXPECT_GE(SavedBy(layers, *equal), all / 2);
  }
}

TEST(LayerAllocationTest, WhatCannotBeSavedIsRefused) {
  const std::vector<LayerChoices> layers = Drawn(1, 3, 4);
  EXPECT_TRUE(absl::IsOutOfRange(LeastLoss(layers, 1e9).status()));
  EXPECT_TRUE(absl::IsOutOfRange(EqualLoss(layers, 1e9).status()));
}

}  // namespace
}  // namespace prunelab
