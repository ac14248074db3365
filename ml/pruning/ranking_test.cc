#include "ml/pruning/ranking.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/pruning/erdos_renyi.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Masks = std::map<std::string, at::Tensor>;

RankedLayer Filters(const std::string& node, const std::vector<float>& importance) {
  return {node, at::tensor(importance).reshape({static_cast<int64_t>(importance.size()), 1, 1, 1})};
}

std::vector<int> Values(const at::Tensor& mask) {
  const at::Tensor flat = mask.reshape({-1}).to(at::kInt);
  return std::vector<int>(flat.const_data_ptr<int>(), flat.const_data_ptr<int>() + flat.numel());
}

Masks Rank(const Ranking& ranking, double rate, const std::vector<RankedLayer>& layers) {
  absl::StatusOr<Masks> masks = RankMasks(ranking, rate, layers);
  EXPECT_TRUE(masks.ok()) << masks.status();
  return masks.ok() ? *masks : Masks();
}

Ranking Scope(Ranking::Scope scope) {
  Ranking ranking;
  ranking.set_scope(scope);
  return ranking;
}

TEST(RankingTest, GlobalIsThePapersRule) {
  const std::vector<RankedLayer> layers = {Filters("a", {5, 1, 4}), Filters("b", {2, 3})};
  // sorted[int(5 * 0.5)] is 3, and 3 itself is not above it.
  Masks masks = Rank(Ranking(), 0.5, layers);
  EXPECT_THAT(Values(masks["a"]), ElementsAre(1, 0, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(0, 0));
  EXPECT_EQ(masks["a"].scalar_type(), at::kFloat);
  EXPECT_TRUE(masks["a"].sizes() == at::IntArrayRef({3, 1, 1, 1}));
  // Just below a whole number of filters: sorted[int(1.95)].
  masks = Rank(Ranking(), 0.39, layers);
  EXPECT_THAT(Values(masks["b"]), ElementsAre(0, 1));
}

// However small a rate is.
constexpr double kLeastRate = std::numeric_limits<double>::min();

TEST(RankingTest, AnyRateAboveZeroMasksTheSmallestAndItsTies) {
  Masks masks = Rank(Ranking(), kLeastRate, {Filters("a", {5, 1, 4}), Filters("b", {2, 3})});
  EXPECT_THAT(Values(masks["a"]), ElementsAre(1, 0, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(1, 1));
  masks = Rank(Ranking(), kLeastRate, {Filters("a", {1, 1, 4}), Filters("b", {1, 3})});
  EXPECT_THAT(Values(masks["a"]), ElementsAre(0, 0, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(0, 1));
}

TEST(RankingTest, RateZeroMasksNothing) {
  for (const Ranking::Scope scope : {Ranking::GLOBAL, Ranking::PER_LAYER, Ranking::GLOBAL_LAYER_MEAN,
                                     Ranking::GLOBAL_LAMP, Ranking::ERDOS_RENYI_KERNEL}) {
    for (const int64_t min_live_filters : {0, 1}) {
      Ranking ranking = Scope(scope);
      ranking.set_min_live_filters(min_live_filters);
      Masks masks = Rank(ranking, 0, {Filters("a", {0, 0, 4}), Filters("b", {0, 3})});
      EXPECT_THAT(Values(masks["a"]), ElementsAre(1, 1, 1));
      EXPECT_THAT(Values(masks["b"]), ElementsAre(1, 1));
      EXPECT_EQ(masks["a"].scalar_type(), at::kFloat);
      EXPECT_TRUE(masks["a"].sizes() == at::IntArrayRef({3, 1, 1, 1}));
    }
  }
  // What cannot be ranked is lost all the same.
  EXPECT_EQ(RankMasks(Ranking(), 0, {Filters("a", {1, std::nanf("")})}).status().code(), absl::StatusCode::kDataLoss);
}

TEST(RankingTest, TiesAtTheThresholdAllGo) {
  const Masks masks = Rank(Ranking(), 0.25, {Filters("a", {2, 2, 1, 2, 3, 2, 9, 9})});
  EXPECT_THAT(Values(masks.at("a")), ElementsAre(0, 0, 0, 0, 1, 0, 1, 1));
}

TEST(RankingTest, ALayerMayLoseAll) {
  const Masks masks = Rank(Ranking(), 0.5, {Filters("a", {1, 2, 3}), Filters("b", {7, 8, 9})});
  EXPECT_THAT(Values(masks.at("a")), ElementsAre(0, 0, 0));
  EXPECT_THAT(Values(masks.at("b")), ElementsAre(0, 1, 1));
}

// 1 - 2^-53 of 3 entries rounds to 3: no entry has that index.
TEST(RankingTest, ARateNextToOneMasksAll) {
  const Masks masks = Rank(Ranking(), std::nextafter(1.0, 0.0), {Filters("a", {1, 2, 3})});
  EXPECT_THAT(Values(masks.at("a")), ElementsAre(0, 0, 0));
}

TEST(RankingTest, PerLayer) {
  const Masks masks = Rank(Scope(Ranking::PER_LAYER), 0.5, {Filters("a", {1, 2, 3, 4}), Filters("b", {9, 7, 8})});
  EXPECT_THAT(Values(masks.at("a")), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(Values(masks.at("b")), ElementsAre(1, 0, 0));
}

// Each layer by the paper's rule at its own rate.
TEST(RankingTest, ErdosRenyiKernelIsARateForEachLayer) {
  const std::vector<std::vector<int64_t>> shapes = {{8, 3, 3, 3}, {32, 16, 3, 3}, {16, 32, 1, 1}, {4, 2, 1, 1}};
  for (const bool of_filters : {true, false}) {
    std::vector<RankedLayer> layers;
    for (const std::vector<int64_t>& shape : shapes) {
      const std::vector<int64_t> sizes = of_filters ? std::vector<int64_t>{shape[0], 1, 1, 1} : shape;
      const at::Tensor importance = (at::randperm(at::empty(sizes).numel()) + 1).to(at::kFloat).view(sizes);
      layers.push_back({absl::StrCat("layer", layers.size()), importance, shape});
    }
    for (const double rate : {0.1, 0.5, 0.9}) {
      const std::vector<double> densities = ErdosRenyiKernelDensities(shapes, rate, of_filters);
      for (const int64_t min_live_filters : {0, 1}) {
        Ranking ranking = Scope(Ranking::ERDOS_RENYI_KERNEL);
        ranking.set_min_live_filters(min_live_filters);
        const Masks masks = Rank(ranking, rate, layers);
        int64_t dense = 0;
        for (size_t i = 0; i < layers.size(); ++i) {
          const at::Tensor& importance = layers[i].importance;
          const auto n = static_cast<double>(importance.numel());
          // The importances are 1, 2, ..., n.
          const double masked = densities[i] == 1 ? 0 : std::floor(n * (1 - densities[i])) + 1;
          dense += densities[i] == 1;
          const double kept = std::max<double>(n - masked, of_filters ? static_cast<double>(min_live_filters) : 0);
          if (!of_filters && min_live_filters > 0 && kept == 0) continue;
          EXPECT_TRUE(at::equal(masks.at(layers[i].node), importance.gt(n - kept).to(at::kFloat)))
              << of_filters << " " << rate << " " << i;
        }
        EXPECT_EQ(dense > 0, rate < 0.9 || !of_filters) << "no layer that stays dense was tried";
      }
    }
  }
}

TEST(RankingTest, GlobalByLayerMean) {
  // a / 2: 0.5, 0.5, 2; b / 10: 0.4, 0.6, 2.
  const std::vector<RankedLayer> layers = {Filters("a", {1, 1, 4}), Filters("b", {4, 6, 20})};
  Masks masks = Rank(Scope(Ranking::GLOBAL_LAYER_MEAN), kLeastRate, layers);
  EXPECT_THAT(Values(masks["a"]), ElementsAre(1, 1, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(0, 1, 1));
  masks = Rank(Scope(Ranking::GLOBAL_LAYER_MEAN), 0.5, layers);
  EXPECT_THAT(Values(masks["a"]), ElementsAre(0, 0, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(0, 0, 1));
  EXPECT_EQ(masks["a"].scalar_type(), at::kFloat);
  // A layer of zeros is the least important, not an error.
  masks = Rank(Scope(Ranking::GLOBAL_LAYER_MEAN), kLeastRate, {Filters("a", {0, 0}), Filters("b", {1, 2})});
  EXPECT_THAT(Values(masks["a"]), ElementsAre(0, 0));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(1, 1));
}

TEST(RankingTest, GlobalByLamp) {
  // Squares 1, 4, 9: scores 1/14, 4/13, 1. Squares 4, 4, 16: scores 4/24 twice, 1. So the order is a[0], b[0] = b[1],
  // a[1].
  const std::vector<RankedLayer> layers = {Filters("a", {1, 2, 3}), Filters("b", {2, 4, 2})};
  Masks masks = Rank(Scope(Ranking::GLOBAL_LAMP), 0.01, layers);
  EXPECT_THAT(Values(masks["a"]), ElementsAre(0, 1, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(1, 1, 1));
  masks = Rank(Scope(Ranking::GLOBAL_LAMP), 0.2, layers);
  EXPECT_THAT(Values(masks["a"]), ElementsAre(0, 1, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(0, 1, 0));
  masks = Rank(Scope(Ranking::GLOBAL_LAMP), 0.5, layers);
  EXPECT_THAT(Values(masks["a"]), ElementsAre(0, 0, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(0, 1, 0));
  // The largest of every layer scores 1: no layer is emptied before the others.
  masks = Rank(Scope(Ranking::GLOBAL_LAMP), 0.5, {Filters("a", {1e-3f, 2e-3f}), Filters("b", {10, 20, 30})});
  EXPECT_THAT(Values(masks["a"]), ElementsAre(0, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(0, 0, 1));
}

Ranking OwnRates(const std::vector<std::pair<std::string, double>>& rates) {
  Ranking ranking = Scope(Ranking::LAYER_RATES);
  for (const auto& [layer, rate] : rates) {
    LayerRate* each = ranking.add_layer_rate();
    each->set_layer(layer);
    each->set_rate(rate);
  }
  return ranking;
}

TEST(RankingTest, LayerRates) {
  // Four and two filters; a third layer has no rate.
  const std::vector<RankedLayer> layers = {Filters("a", {1, 2, 3, 4}), Filters("b", {1, 2}), Filters("c", {0, 0})};
  const Ranking ranking = OwnRates({{"a", 0.3}, {"b", 0.1}});
  // As they are: of eight filters 4 * 0.3 + 2 * 0.1 = 1.4. int(4 * 0.3) + 1 and int(2 * 0.1) + 1 are masked.
  Masks masks = Rank(ranking, 1.4 / 8, layers);
  EXPECT_THAT(Values(masks["a"]), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(0, 1));
  EXPECT_THAT(Values(masks["c"]), ElementsAre(1, 1));
  // Twice as much: 0.6 and 0.2.
  masks = Rank(ranking, 2.8 / 8, layers);
  EXPECT_THAT(Values(masks["a"]), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(0, 1));
  // Limits hold.
  Ranking limited = ranking;
  limited.set_min_live_filters(2);
  masks = Rank(limited, 2.8 / 8, layers);
  EXPECT_THAT(Values(masks["a"]), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(Values(masks["b"]), ElementsAre(1, 1));
}

TEST(RankingTest, ScaledRatesMakeTheRateOfAllTogether) {
  const std::vector<double> own = {0.5, 0.25, 0, 0.97};
  const std::vector<int64_t> sizes = {10, 40, 20, 30};
  double whole = 0;
  for (size_t i = 0; i < own.size(); ++i) whole += own[i] * static_cast<double>(sizes[i]) / 100;
  EXPECT_EQ(ScaledRates(own, sizes, whole), own);
  for (const double rate : {0.01, 0.3, 0.5, 0.7}) {
    const std::vector<double> rates = ScaledRates(own, sizes, rate);
    double sum = 0;
    for (size_t i = 0; i < rates.size(); ++i) {
      sum += rates[i] * static_cast<double>(sizes[i]) / 100;
      EXPECT_LE(rates[i], std::max(own[i], 0.95));
    }
    EXPECT_NEAR(sum, rate, 1e-12);
    // In proportion, as far as nothing is in the way.
    if (rates[0] < 0.95) EXPECT_NEAR(rates[0], 2 * rates[1], 1e-12);
  }
  // All that can go has gone: 0.95 of the first two, and the last's own.
  const std::vector<double> most = ScaledRates(own, sizes, 0.9);
  EXPECT_EQ(most, (std::vector<double>{0.95, 0.95, 0, 0.97}));
}

TEST(RankingTest, LayerRatesThatMakeNoSenseAreRefused) {
  EXPECT_EQ(ErrorField(ValidateRanking(OwnRates({}))), "layer_rate");
  EXPECT_EQ(ErrorField(ValidateRanking(OwnRates({{"a", 1}}))), "layer_rate[0].rate");
  EXPECT_EQ(ErrorField(ValidateRanking(OwnRates({{"a", 0}, {"b", 0}}))), "layer_rate");
  EXPECT_EQ(ErrorField(ValidateRanking(OwnRates({{"a", 0.1}, {"a", 0.2}}))), "layer_rate[1].layer");
  Ranking ranking = OwnRates({{"a", 0.1}});
  EXPECT_TRUE(ValidateRanking(ranking).ok());
  ranking.set_scope(Ranking::PER_LAYER);
  EXPECT_EQ(ErrorField(ValidateRanking(ranking)), "layer_rate[0]");
}

TEST(RankingTest, LampEqualsItsDefinition) {
  at::manual_seed(3);
  const at::Tensor importance = at::randn({6, 4, 3, 3}).abs().mul(8).round().div(8);  // with ties
  const at::Tensor squares = importance.to(at::kDouble).square().reshape({-1});
  std::vector<double> scores;
  for (int64_t u = 0; u < squares.numel(); ++u) {
    const at::Tensor own = squares[u];
    const double sum = squares.masked_select(squares.ge(own)).sum().item<double>();
    scores.push_back(own.item<double>() / sum);
  }
  const double rate = 0.7;
  std::vector<double> sorted = scores;
  std::sort(sorted.begin(), sorted.end());
  const double threshold = sorted[static_cast<int64_t>(scores.size() * rate)];
  const std::vector<int> mask = Values(Rank(Scope(Ranking::GLOBAL_LAMP), rate, {{"a", importance}})["a"]);
  for (size_t u = 0; u < scores.size(); ++u) {
    // Sums in another order may round differently: entries clearly on either side decide.
    if (std::abs(scores[u] - threshold) < 1e-12) continue;
    EXPECT_EQ(mask[u], scores[u] > threshold) << u;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Limits

TEST(RankingTest, MinLiveFilters) {
  Ranking ranking;
  ranking.set_min_live_filters(1);
  // int(6 * 0.5) + 1 = 4 go: 1, 2, not 3 (the last of a), 7, 8.
  const Masks masks = Rank(ranking, 0.5, {Filters("a", {1, 2, 3}), Filters("b", {7, 8, 9})});
  EXPECT_THAT(Values(masks.at("a")), ElementsAre(0, 0, 1));
  EXPECT_THAT(Values(masks.at("b")), ElementsAre(0, 0, 1));
  // More than a layer has: it keeps all.
  ranking.set_min_live_filters(10);
  EXPECT_THAT(Values(Rank(ranking, 0.5, {Filters("a", {1, 2, 3})}).at("a")), ElementsAre(1, 1, 1));
}

TEST(RankingTest, MaxRate) {
  Ranking ranking;
  ranking.set_max_rate(0.7);
  const Masks masks = Rank(ranking, 0.5, {Filters("a", {1, 2, 3}), Filters("b", {7, 8, 9})});
  EXPECT_THAT(Values(masks.at("a")), ElementsAre(0, 0, 1));
  EXPECT_THAT(Values(masks.at("b")), ElementsAre(0, 0, 1));
  ranking.set_max_rate(0);
  EXPECT_THAT(Values(Rank(ranking, 0.5, {Filters("a", {1, 2, 3})}).at("a")), ElementsAre(1, 1, 1));
}

TEST(RankingTest, LimitsTakeTiesByLayerAndIndex) {
  Ranking ranking;
  ranking.set_max_rate(0.75);
  const Masks masks = Rank(ranking, 0.5, {Filters("a", {1, 1, 1, 1}), Filters("b", {1, 1, 1, 1})});
  EXPECT_THAT(Values(masks.at("a")), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(Values(masks.at("b")), ElementsAre(0, 0, 1, 1));
}

// The rule as ranking.h words it: one entry after the other.
Masks OneByOne(const Ranking& ranking, double rate, const std::vector<RankedLayer>& layers) {
  Masks masks;
  std::vector<std::tuple<double, size_t, int64_t>> order;
  for (size_t l = 0; l < layers.size(); ++l) {
    const at::Tensor flat = layers[l].importance.reshape({-1}).to(at::kDouble).contiguous();
    for (int64_t i = 0; i < flat.numel(); ++i) order.emplace_back(flat.const_data_ptr<double>()[i], l, i);
    masks[layers[l].node] = at::ones_like(layers[l].importance, at::MemoryFormat::Contiguous);
  }
  std::sort(order.begin(), order.end());
  if (rate == 0) return masks;
  const bool per_layer = ranking.scope() == Ranking::PER_LAYER;
  std::vector<int64_t> off(layers.size(), 0);
  int64_t total_off = 0;
  for (const auto& [importance, l, i] : order) {
    const int64_t n = layers[l].importance.numel();
    const int64_t asked = static_cast<int64_t>(rate * (per_layer ? n : static_cast<int64_t>(order.size()))) + 1;
    if ((per_layer ? off[l] : total_off) >= asked) continue;
    if (off[l] >= static_cast<int64_t>(n * ranking.max_rate())) continue;
    at::Tensor flat = masks[layers[l].node].view({-1});
    flat[i].zero_();
    const int64_t live =
        masks[layers[l].node].reshape({layers[l].importance.size(0), -1}).amax(1).sum().item<int64_t>();
    if (live < std::min(ranking.min_live_filters(), layers[l].importance.size(0))) {
      flat[i].fill_(1);
      continue;
    }
    ++off[l];
    ++total_off;
  }
  return masks;
}

TEST(RankingTest, LimitsEqualTheirRule) {
  at::manual_seed(5);
  for (const bool weights : {false, true}) {
    for (const bool ties : {false, true}) {
      std::vector<RankedLayer> layers;
      const std::vector<std::vector<int64_t>> shapes = {{5, 2, 1, 1}, {8, 5, 1, 2}, {3, 1, 1, 1}};
      for (const std::vector<int64_t>& shape : shapes) {
        at::Tensor importance = at::rand(weights ? shape : std::vector<int64_t>{shape[0], 1, 1, 1});
        if (ties) importance = importance.mul(3).round();
        layers.push_back({std::to_string(layers.size()), importance.contiguous(at::MemoryFormat::ChannelsLast)});
      }
      for (const double rate : {0.0, kLeastRate, 0.1, 0.5, 0.8, 0.999}) {
        for (const int64_t min_live_filters : {0, 1, 2, 7}) {
          for (const double max_rate : {1.0, 0.85, 0.5, 0.05}) {
            for (const Ranking::Scope scope : {Ranking::GLOBAL, Ranking::PER_LAYER}) {
              if (min_live_filters == 0 && max_rate == 1) continue;  // no limits
              Ranking ranking = Scope(scope);
              ranking.set_min_live_filters(min_live_filters);
              ranking.set_max_rate(max_rate);
              const Masks masks = Rank(ranking, rate, layers);
              for (const auto& [node, expected] : OneByOne(ranking, rate, layers)) {
                ASSERT_TRUE(at::equal(masks.at(node), expected))
                    << ranking.ShortDebugString() << " rate " << rate << " weights " << weights << " ties " << ties;
              }
            }
          }
        }
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------

TEST(RankingTest, NotANumberNamesTheLayer) {
  const float nan = std::nanf("");
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Ranking::Scope scope :
       {Ranking::GLOBAL, Ranking::PER_LAYER, Ranking::GLOBAL_LAYER_MEAN, Ranking::GLOBAL_LAMP}) {
    for (const float bad : {nan, infinity}) {
      const absl::Status status =
          RankMasks(Scope(scope), 0.5, {Filters("fine", {1, 2}), Filters("broken", {1, bad, bad})}).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(std::string(status.message()), HasSubstr("broken: 2 of 3 importances are infinite or not a number"));
    }
  }
}

TEST(RankingTest, DoublesAndChannelsLast) {
  at::manual_seed(7);
  const at::Tensor importance = at::rand({8, 4, 3, 3}, at::kDouble);
  const at::Tensor expected = Rank(Ranking(), 0.6, {{"a", importance}})["a"];
  EXPECT_EQ(expected.scalar_type(), at::kDouble);
  EXPECT_EQ(expected.eq(0).sum().item<int64_t>(), static_cast<int64_t>(288 * 0.6) + 1);
  EXPECT_TRUE(
      at::equal(Rank(Ranking(), 0.6, {{"a", importance.contiguous(at::MemoryFormat::ChannelsLast)}})["a"], expected));
}

TEST(RankingTest, RefusesBadLimits) {
  Ranking ranking;
  EXPECT_TRUE(ValidateRanking(ranking).ok());
  ranking.set_min_live_filters(-1);
  EXPECT_EQ(ErrorField(ValidateRanking(ranking)), "min_live_filters");
  for (const double rate : {-0.1, 1.1, std::nan("")}) {
    ranking.Clear();
    ranking.set_max_rate(rate);
    EXPECT_EQ(ErrorField(ValidateRanking(ranking)), "max_rate");
  }
}

}  // namespace
}  // namespace prunelab
