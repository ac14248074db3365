#include "ml/statistics/holm.h"

#include <algorithm>
#include <numeric>

namespace prunelab {

std::vector<HolmAdjusted> Holm(const std::vector<double>& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<HolmAdjusted> adjusted(p.size());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    HolmAdjusted& own = adjusted[order[rank]];
    const bool tied = rank > 0 && p[order[rank]] == p[order[rank - 1]];
    own.divisor = tied ? adjusted[order[rank - 1]].divisor : static_cast<int64_t>(p.size() - rank);
    largest = std::max(largest, std::min(1.0, static_cast<double>(own.divisor) * p[order[rank]]));
    own.p = largest;
  }
  return adjusted;
}

}  // namespace prunelab
