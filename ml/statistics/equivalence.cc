#include "ml/statistics/equivalence.h"

#include <algorithm>
#include <cmath>

#include "ml/statistics/summary.h"
#include "ml/statistics/t_test.h"

namespace prunelab {

std::optional<double> PairedEquivalenceP(const std::vector<double>& differences, double margin) {
  const SampleSummary summary = SummarizeSample(differences);
  if (!summary.sd || !(margin > 0)) return std::nullopt;
  if (*summary.sd == 0) return std::abs(summary.mean) < margin ? 0.0 : 1.0;
  const double n = static_cast<double>(summary.n);
  const double standard_error = *summary.sd / std::sqrt(n);
  return std::max(StudentUpperTail((summary.mean + margin) / standard_error, n - 1),
                  StudentLowerTail((summary.mean - margin) / standard_error, n - 1));
}

}  // namespace prunelab
