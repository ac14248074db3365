// Equivalence: not "no difference was found", but "a difference as large as the margin was excluded".
#pragma once

#include <optional>
#include <vector>

namespace prunelab {

// The p of two one-sided paired t-tests (TOST; Schuirmann 1987): the larger of those of "mean <= -margin" and "mean >=
// margin". Small: the mean difference lies within (-margin, margin). From two differences and a margin above 0 on.
// Differences without spread: 0 inside the margin, else 1.
std::optional<double> PairedEquivalenceP(const std::vector<double>& differences, double margin);

}  // namespace prunelab
