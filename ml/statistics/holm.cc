#include "ml/statistics/holm.h"

#include <algorithm>
#include <numeric>

namespace prunelab {

std::vector<HolmAdjusted> Holm(const std::vector<double>& p, double level) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<HolmAdjusted> adjusted(p.size());
  double largest = 0;
  int64_t ended_by = 0;  // the divisor of the first that is not rejected
  std::vector<int64_t> divisors(p.size());
  for (size_t rank = 0; rank < order.size(); ++rank) {
    HolmAdjusted& own = adjusted[order[rank]];
    const bool tied = rank > 0 && p[order[rank]] == p[order[rank - 1]];
    divisors[rank] = tied ? divisors[rank - 1] : static_cast<int64_t>(p.size() - rank);
    const double own_p = static_cast<double>(divisors[rank]) * p[order[rank]];
    largest = std::max(largest, std::min(1.0, own_p));
    own.p = largest;
    if (ended_by == 0 && largest > level) ended_by = divisors[rank];
    own.divisor = largest > level && own_p <= level ? ended_by : divisors[rank];
  }
  return adjusted;
}

}  // namespace prunelab
