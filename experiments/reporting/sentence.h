// A verdict as a sentence with its numbers, e.g. "b is better than a in test top-1: +2.00 points (95 % interval +1.20
// to +2.80 points; p = 0.0020 after Holm; 10 seeds)."
#pragma once

#include <string>

#include "experiments/reporting/comparison.h"

namespace prunelab {

// Of a comparison that has been judged.
std::string VerdictSentence(const ComparisonResult& comparison);

}  // namespace prunelab
