// comparisons.json: an array, docs/results.md names the keys. What is unbounded or unknown is null.
#pragma once

#include <string>

#include "experiments/reporting/analysis.h"

namespace prunelab {

std::string ComparisonsJson(const Analysis& analysis);

}  // namespace prunelab
