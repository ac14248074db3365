// Equivalence: not "no difference was found", but "a difference as large as the margin was ruled out".
#pragma once

#include <optional>
#include <vector>

namespace prunelab {

// The p of two one-sided paired t-tests (TOST; Schuirmann 1987): the larger of those of "mean <= -margin" and "mean >=
// margin". A small p means that the mean difference lies within (-margin, margin). Needs at least two differences and a
// margin above 0. For differences without spread it is 0 inside the margin, else 1.
std::optional<double> PairedEquivalenceP(const std::vector<double>& differences, double margin);

}  // namespace prunelab
