// The tables of an analysis as rows of text, the header first: for the terminal, Markdown and LaTeX.
#pragma once

#include <string>
#include <vector>

#include "experiments/reporting/analysis.h"

namespace prunelab {

using TextRows = std::vector<std::vector<std::string>>;

TextRows ComparisonRows(const Analysis& analysis);

// An arm's runs, then mean and standard deviation of the measures with a column in the tables in which any arm has a
// value.
TextRows ArmRows(const Analysis& analysis);

// The verdicts as a table for the terminal, each with a sentence; "" without comparisons.
std::string VerdictTable(const Analysis& analysis);

// How the numbers of both tables came about, in a few sentences.
std::string MethodText(const Analysis& analysis);

}  // namespace prunelab
