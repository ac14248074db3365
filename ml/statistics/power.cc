#include "ml/statistics/power.h"

#include <algorithm>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <boost/math/tools/toms748_solve.hpp>
#include <cmath>

#include "ml/base/check.h"
#include "ml/statistics/sign_flip.h"

namespace prunelab {
namespace {

constexpr int64_t kMostSeeds = 1000000;
constexpr double kEquivalenceAlpha = 0.05;

// P(T > critical) for the noncentral t. It is not computed where the outcome is certain up to rounding.
double NoncentralUpperTail(double degrees_of_freedom, double noncentrality, double critical) {
  if (noncentrality > 35 + critical) return 1;
  if (noncentrality < critical - 35 - critical * critical) return 0;
  return boost::math::cdf(
      boost::math::complement(boost::math::non_central_t(degrees_of_freedom, noncentrality), critical));
}

double Critical(double degrees_of_freedom, double tail) {
  return boost::math::quantile(boost::math::complement(boost::math::students_t(degrees_of_freedom), tail));
}

// The smallest n in [first, kMostSeeds] for which `enough` holds; it must hold from some n on.
template <typename F>
std::optional<int64_t> SmallestSeeds(int64_t first, F enough) {
  int64_t high = first;
  while (!enough(high)) {
    if (high >= kMostSeeds) return std::nullopt;
    high = std::min(kMostSeeds, high * 2);
  }
  int64_t low = first - 1;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (enough(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace

double PairedPower(int64_t n, double effect, double alpha) {
  PRUNELAB_CHECK(n >= 2 && alpha > 0 && alpha < 1) << n << ", " << alpha;
  const double degrees_of_freedom = static_cast<double>(n - 1);
  const double critical = Critical(degrees_of_freedom, alpha / 2);
  const double noncentrality = std::abs(effect) * std::sqrt(static_cast<double>(n));
  return std::min(1.0, NoncentralUpperTail(degrees_of_freedom, noncentrality, critical) +
                           NoncentralUpperTail(degrees_of_freedom, -noncentrality, critical));
}

std::optional<double> DetectableDifference(int64_t n, double sd, double alpha, double power) {
  PRUNELAB_CHECK(power > alpha && power < 1) << power;
  if (n < 2 || SmallestSignFlipP(n) > alpha) return std::nullopt;
  if (!(sd > 0)) return 0.0;
  const auto shortfall = [&](double effect) { return PairedPower(n, effect, alpha) - power; };
  double high = 1;
  while (shortfall(high) < 0) high *= 2;
  std::uintmax_t iterations = 200;
  const auto [low_root, high_root] = boost::math::tools::toms748_solve(
      shortfall, high / 2 * (high > 1), high, boost::math::tools::eps_tolerance<double>(50), iterations);
  return (low_root + high_root) / 2 * sd;
}

int64_t SeedsToReach(double alpha) {
  PRUNELAB_CHECK(alpha > 0 && alpha < 1) << alpha;
  int64_t n = 2;
  while (SmallestSignFlipP(n) > alpha) ++n;
  return n;
}

std::optional<int64_t> SeedsToDetect(double difference, double sd, double alpha, double power) {
  if (difference == 0) return std::nullopt;
  const int64_t first = SeedsToReach(alpha);
  if (!(sd > 0)) return first;
  return SmallestSeeds(first, [&](int64_t n) { return PairedPower(n, difference / sd, alpha) >= power; });
}

std::optional<int64_t> SeedsForEquivalence(double difference, double margin, double sd, double power) {
  if (!(std::abs(difference) < margin)) return std::nullopt;
  if (!(sd > 0)) return 2;
  return SmallestSeeds(2, [&](int64_t n) {
    const double degrees_of_freedom = static_cast<double>(n - 1);
    const double root = std::sqrt(static_cast<double>(n)) / sd;
    const double critical = Critical(degrees_of_freedom, kEquivalenceAlpha);
    return NoncentralUpperTail(degrees_of_freedom, (margin - difference) * root, critical) +
               NoncentralUpperTail(degrees_of_freedom, (margin + difference) * root, critical) - 1 >=
           power;
  });
}

}  // namespace prunelab
