// comparisons.json: an array; docs/results.md names the keys. Unbounded or unknown values are null.
#pragma once

#include <string>

#include "experiments/reporting/analysis.h"

namespace prunelab {

std::string ComparisonsJson(const Analysis& analysis);

}  // namespace prunelab
