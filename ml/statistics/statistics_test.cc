// All of ml/statistics against scipy and statsmodels (statistics_values.json, made by
// tools/reference/statistics_values.py), and what no reference is needed for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "ml/base/random.h"
#include "ml/statistics/bootstrap.h"
#include "ml/statistics/effect_size.h"
#include "ml/statistics/equivalence.h"
#include "ml/statistics/holm.h"
#include "ml/statistics/power.h"
#include "ml/statistics/sign_flip.h"
#include "ml/statistics/summary.h"
#include "ml/statistics/t_test.h"

namespace prunelab {
namespace {

using Json = nlohmann::json;
using Values = std::vector<double>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

const Json& Reference(const char* function) {
  static const Json* all = [] {
    std::ifstream file("ml/statistics/statistics_values.json");
    return new Json(Json::parse(file));
  }();
  EXPECT_GE(all->at(function).size(), 5u) << function;
  return all->at(function);
}

double Number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  return value.get<std::string>() == "inf" ? kInfinity : -kInfinity;
}

void ExpectClose(double actual, double expected, const std::string& what) {
  if (std::isinf(expected)) {
    EXPECT_EQ(actual, expected) << what;
  } else {
    EXPECT_NEAR(actual, expected, 1e-9 * std::abs(expected)) << what;
  }
}

Values Treatment(const Json& c) { return c["treatment"].get<Values>(); }
Values Control(const Json& c) { return c["control"].get<Values>(); }
Values PairedDifferences(const Json& c) { return Differences(Treatment(c), Control(c)); }
std::string Case(const Json& c) { return c["case"].get<std::string>(); }

TEST(StatisticsTest, ThereAreEnoughReferenceCases) {
  size_t cases = 0;
  for (const char* function :
       {"summaries", "paired", "welch", "sign_flip", "sign_flip_intervals", "hedges", "holm", "equivalence", "power",
        "detectable", "seeds_to_detect", "seeds_for_equivalence", "bca_exact", "bca_drawn", "sign_flip_drawn"}) {
    cases += Reference(function).size();
  }
  EXPECT_GE(cases, 200u);
}

TEST(StatisticsTest, SummaryAndStudentInterval) {
  for (const Json& c : Reference("summaries")) {
    const SampleSummary summary = SummarizeSample(c["values"].get<Values>());
    ExpectClose(summary.mean, c["mean"], Case(c));
    ExpectClose(summary.sd.value(), c["sd"], Case(c));
    ExpectClose(StudentHalfWidth(summary, 0.95).value(), c["half_width"], Case(c));
  }
}

TEST(StatisticsTest, PairedTTest) {
  for (const Json& c : Reference("paired")) {
    const TTest test = PairedTTest(PairedDifferences(c)).value();
    ExpectClose(test.t, Number(c["t"]), Case(c));
    ExpectClose(test.p, Number(c["p"]), Case(c));
  }
}

TEST(StatisticsTest, Welch) {
  for (const Json& c : Reference("welch")) {
    const TTest test = WelchTest(Treatment(c), Control(c)).value();
    ExpectClose(test.t, Number(c["t"]), Case(c));
    ExpectClose(test.p, Number(c["p"]), Case(c));
    if (!c["df"].is_null()) ExpectClose(test.degrees_of_freedom, c["df"], Case(c));
  }
}

TEST(StatisticsTest, SignFlip) {
  for (const Json& c : Reference("sign_flip")) {
    const SignFlipTest test = SignFlip(PairedDifferences(c));
    ExpectClose(test.p, c["p"], Case(c));
    EXPECT_EQ(test.standard_error, 0);
  }
}

TEST(StatisticsTest, SignFlipDrawnIsWithinItsError) {
  for (const Json& c : Reference("sign_flip_drawn")) {
    const SignFlipTest test = SignFlip(c["values"].get<Values>());
    EXPECT_GT(test.standard_error, 0);
    const double p = c["p"];
    const double reference_error = std::sqrt(p * (1 - p) / c["draws"].get<double>());
    EXPECT_NEAR(test.p, p, 4 * std::hypot(test.standard_error, reference_error) + 1e-5) << Case(c);
  }
}

TEST(StatisticsTest, SignFlipInterval) {
  for (const Json& c : Reference("sign_flip_intervals")) {
    const Interval interval = SignFlipInterval(PairedDifferences(c), c["level"]);
    ExpectClose(interval.low, Number(c["low"]), Case(c));
    ExpectClose(interval.high, Number(c["high"]), Case(c));
  }
}

// The interval and the test say the same of every shift, also where subsets are too many to list, and where signs are
// drawn.
TEST(StatisticsTest, SignFlipIntervalGoesWithTheTest) {
  for (const int n : {6, 10, 17, 19, 24, 31, 33, 70}) {
    RandomStream stream(3, "values", static_cast<uint64_t>(n));
    Values values;
    for (int i = 0; i < n; ++i) values.push_back(0.1 + stream.Normal());
    for (const double level : {0.95, 0.99}) {
      const Interval interval = SignFlipInterval(values, level);
      if (n == 6 && level == 0.99) {
        EXPECT_EQ(interval.low, -kInfinity);
        EXPECT_EQ(interval.high, kInfinity);
        continue;
      }
      for (const double end : {interval.low, interval.high}) {
        for (const double step : {-1e-7, 1e-7}) {
          Values shifted = values;
          for (double& value : shifted) value -= end + step;
          const bool inside = end + step > interval.low && end + step < interval.high;
          EXPECT_EQ(SignFlip(shifted).p > 1 - level + 1e-13, inside) << n << " " << level << " " << end << " " << step;
        }
      }
    }
  }
}

// The verdict is the test's, the interval stands beside it: they must say the same of 0. Differences of accuracies of
// few images lie on a grid, so that sums tie with 0, but for rounding.
TEST(StatisticsTest, SignFlipIntervalExcludesZeroExactlyWhereTheTestRefusesIt) {
  int64_t refused = 0, kept = 0, at_zero = 0;
  for (int sample = 0; sample < 600; ++sample) {
    RandomStream stream(7, "values", static_cast<uint64_t>(sample));
    const int n =
        sample % 100 == 0 ? 33 + sample / 100 : 5 + sample % 16;  // a few with too many seeds for an exact count
    const double shift = 0.1 + 0.2 * (sample % 7);
    Values values;
    for (int i = 0; i < n; ++i) values.push_back(std::round(3 * (shift * 4 / std::sqrt(n) + stream.Normal())) / 360);
    for (const double alpha : {0.05, 0.05 / 3}) {
      const Interval interval = SignFlipInterval(values, 1 - alpha);
      const bool excludes = interval.low > 0 || interval.high < 0;
      EXPECT_EQ(excludes, SignFlip(values).p <= alpha)
          << n << " " << alpha << " " << interval.low << " " << interval.high;
      (excludes ? refused : kept) += 1;
      at_zero += interval.low == 0 || interval.high == 0;
    }
  }
  EXPECT_GT(refused, 100);
  EXPECT_GT(kept, 100);
  EXPECT_GT(at_zero, 5);
}

TEST(StatisticsTest, DrawnSignFlipIntervalIsNearStudents) {
  RandomStream stream(5, "values");
  Values values;
  for (int i = 0; i < 200; ++i) values.push_back(1 + stream.Normal());
  const Interval interval = SignFlipInterval(values, 0.95);
  const SampleSummary summary = SummarizeSample(values);
  const double half = *StudentHalfWidth(summary, 0.95);
  EXPECT_NEAR(interval.low, summary.mean - half, 0.05 * half);
  EXPECT_NEAR(interval.high, summary.mean + half, 0.05 * half);
}

TEST(StatisticsTest, SignFlipOfFewDecidesNothing) {
  EXPECT_EQ(SignFlip({}).p, 1);
  EXPECT_EQ(SignFlip({5.0}).p, 1);
  EXPECT_EQ(SignFlip({5.0, 5.0}).p, 0.5);
  EXPECT_EQ(SignFlip({0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}).p, 1);
  EXPECT_EQ(SmallestSignFlipP(0), 1);
  EXPECT_EQ(SmallestSignFlipP(1), 1);
  EXPECT_EQ(SmallestSignFlipP(10), 2.0 / 1024);
  EXPECT_EQ(SignFlipInterval({}, 0.95).low, -kInfinity);
  EXPECT_EQ(SignFlipInterval({1, 2, 3}, 0.95).high, kInfinity);
}

// 0.1 + 0.2 and 0.3 differ by rounding; with 1e-12 of tolerance they tie.
TEST(StatisticsTest, TiesBrokenByRoundingStillTie) {
  const double p = SignFlip({0.1, 0.2, -0.3, 0.1 + 0.2, 0.3, 0.3}).p;
  const double whole = SignFlip({1, 2, -3, 3, 3, 3}).p;
  EXPECT_EQ(p, whole);
}

TEST(StatisticsTest, Hedges) {
  for (const Json& c : Reference("hedges")) {
    const std::optional<double> g = HedgesG(Treatment(c), Control(c));
    ASSERT_EQ(g.has_value(), !c["g"].is_null()) << Case(c);
    if (g) ExpectClose(*g, c["g"], Case(c));
  }
  EXPECT_FALSE(HedgesG({1.0}, {2.0}).has_value());
}

TEST(StatisticsTest, Contrasts) {
  for (const Json& c : Reference("contrasts")) {
    const auto samples = c["samples"].get<std::vector<Values>>();
    const TTest test = WelchContrast(samples, c["weights"].get<Values>()).value();
    ExpectClose(test.t, c["t"], Case(c));
    ExpectClose(test.p, c["p"], Case(c));
    ExpectClose(HedgesGContrast(samples, c["weights"].get<Values>()).value(), c["g"], Case(c));
  }
}

TEST(StatisticsTest, Holm) {
  for (const Json& c : Reference("holm")) {
    const std::vector<HolmAdjusted> adjusted = Holm(c["p"].get<Values>(), 0.05);
    ASSERT_EQ(adjusted.size(), c["adjusted"].size());
    for (size_t i = 0; i < adjusted.size(); ++i) ExpectClose(adjusted[i].p, c["adjusted"][i], Case(c));
  }
  const std::vector<HolmAdjusted> adjusted = Holm({0.03, 0.001, 0.2, 0.03}, 0.05);
  EXPECT_EQ(adjusted[1].divisor, 4);
  EXPECT_EQ(adjusted[0].divisor, 3);
  EXPECT_EQ(adjusted[3].divisor, 3);  // tied with the first
  EXPECT_EQ(adjusted[2].divisor, 1);
  EXPECT_TRUE(Holm({}, 0.05).empty());
  const std::vector<HolmAdjusted> stopped = Holm({0.04, 0.02, 0.3}, 0.05);
  EXPECT_EQ(stopped[1].p, 0.06);
  EXPECT_EQ(stopped[0].p, 0.08);
  EXPECT_EQ(stopped[0].divisor, 2);
  // The smallest, 0.06, stops the procedure before it reaches the next one, which its own divisor would reject.
  const std::vector<HolmAdjusted> before = Holm({0.024, 0.02, 0.3}, 0.05);
  EXPECT_EQ(before[0].p, 0.06);
  EXPECT_EQ(before[0].divisor, 3);  // 2 * 0.024 is below 0.05, but 3 * 0.02 is not
  EXPECT_EQ(before[2].divisor, 1);
}

// By the divisor that goes with its interval a comparison is refused exactly where it is by its adjusted p.
TEST(StatisticsTest, HolmsDivisorsDecideAsItsAdjustedPDo) {
  RandomStream stream(11, "values");
  int64_t ended = 0;
  for (int sample = 0; sample < 2000; ++sample) {
    Values p;
    for (uint64_t i = 0, n = 1 + stream.Below(8); i < n; ++i) {
      p.push_back(static_cast<double>(1 + stream.Below(64)) / 1024);  // with ties
    }
    const std::vector<HolmAdjusted> adjusted = Holm(p, 0.05);
    for (size_t i = 0; i < p.size(); ++i) {
      EXPECT_EQ(static_cast<double>(adjusted[i].divisor) * p[i] <= 0.05, adjusted[i].p <= 0.05);
      int64_t above = 0;  // what Holm's definition gives for its rank
      for (const double other : p) above += other >= p[i];
      ended += adjusted[i].divisor != above;
      if (adjusted[i].divisor != above) {
        EXPECT_GT(adjusted[i].divisor, above);
        EXPECT_LE(static_cast<double>(above) * p[i], 0.05);
      }
    }
  }
  EXPECT_GT(ended, 20);
}

TEST(StatisticsTest, Equivalence) {
  for (const Json& c : Reference("equivalence")) {
    ExpectClose(PairedEquivalenceP(PairedDifferences(c), c["margin"]).value(), c["p"], Case(c));
  }
  EXPECT_FALSE(PairedEquivalenceP({0.1}, 1).has_value());
  EXPECT_FALSE(PairedEquivalenceP({0.1, 0.2}, 0).has_value());
}

TEST(StatisticsTest, Power) {
  for (const Json& c : Reference("power"))
    ExpectClose(PairedPower(c["n"], c["effect"], c["alpha"]), c["power"], Case(c));
  for (const Json& c : Reference("detectable")) {
    ExpectClose(DetectableDifference(c["n"], c["sd"], c["alpha"], c["power"]).value(), c["difference"], Case(c));
  }
  for (const Json& c : Reference("seeds_to_detect")) {
    EXPECT_EQ(SeedsToDetect(c["difference"], c["sd"], c["alpha"], 0.8), c["n"].get<int64_t>()) << Case(c);
  }
  for (const Json& c : Reference("seeds_for_equivalence")) {
    EXPECT_EQ(SeedsForEquivalence(c["difference"], c["margin"], c["sd"], 0.8), c["n"].get<int64_t>()) << Case(c);
  }
}

TEST(StatisticsTest, PowerOfTheExtremes) {
  EXPECT_FALSE(DetectableDifference(5, 1, 0.05, 0.8).has_value());  // 2 / 2^5 > 0.05
  EXPECT_TRUE(DetectableDifference(6, 1, 0.05, 0.8).has_value());
  EXPECT_EQ(DetectableDifference(6, 0, 0.05, 0.8), 0.0);
  EXPECT_EQ(SeedsToReach(0.05), 6);
  EXPECT_EQ(SeedsToReach(0.05 / 10), 9);
  EXPECT_FALSE(SeedsToDetect(0, 1, 0.05, 0.8).has_value());
  EXPECT_FALSE(SeedsToDetect(1e-9, 1, 0.05, 0.8).has_value());
  EXPECT_EQ(SeedsToDetect(1, 0, 0.05, 0.8), 6);
  EXPECT_EQ(SeedsToDetect(1e9, 1, 0.05, 0.8), 6);
  EXPECT_FALSE(SeedsForEquivalence(2, 1, 1, 0.8).has_value());
  EXPECT_EQ(SeedsForEquivalence(0, 1, 0, 0.8), 2);
}

TEST(StatisticsTest, BcaOfFewValuesIsExact) {
  for (const Json& c : Reference("bca_exact")) {
    const BootstrapInterval bca = BcaInterval(c["values"].get<Values>(), c["level"]).value();
    EXPECT_TRUE(bca.exact);
    ExpectClose(bca.interval.low, c["low"], Case(c));
    ExpectClose(bca.interval.high, c["high"], Case(c));
  }
  EXPECT_FALSE(BcaInterval({1.0}, 0.95).has_value());
  EXPECT_EQ(BcaInterval({2.0, 2.0, 2.0}, 0.95)->interval.low, 2.0);
}

// Against the mean of six of scipy's of 40,000 draws: the error of an end is that of a quantile, at most some 2 % of
// the standard deviation of the mean.
TEST(StatisticsTest, BcaOfMoreIsWithinItsError) {
  for (const Json& c : Reference("bca_drawn")) {
    const Values values = c["values"].get<Values>();
    const BootstrapInterval bca = BcaInterval(values, 0.95).value();
    EXPECT_EQ(bca.exact, values.size() <= 10) << Case(c);
    const double error = 0.08 * c["sd"].get<double>() / std::sqrt(static_cast<double>(values.size()));
    EXPECT_NEAR(bca.interval.low, c["low"], error) << Case(c);
    EXPECT_NEAR(bca.interval.high, c["high"], error) << Case(c);
  }
}

TEST(StatisticsTest, Medians) {
  EXPECT_EQ(Median({3}), 3);
  EXPECT_EQ(Median({3, 1}), 2);
  EXPECT_EQ(Median({5, 1, 3}), 3);
  EXPECT_EQ(Median({4, 1, 3, 2}), 2.5);
}

}  // namespace
}  // namespace prunelab
