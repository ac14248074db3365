// A run's epochs.jsonl as the report needs it: curves, and the totals over the epochs. There may be hundreds of
// thousands of lines, so they are read without building a tree for each.
//
//   EpochCurves epochs;
//   const std::string problem = ReadEpochs(path, &epochs);
//   if (problem.empty()) problem = Disagreement(epochs, result);
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/records/measures.h"
#include "experiments/records/records.h"

namespace prunelab {

// The version of records that this program reads; those that name none are of it.
inline constexpr double kRecordsVersion = 1;

// The measures of an epoch that are numbers, in the order of the records.
const MeasureList& EpochColumns();

struct EpochCurves {
  // values[epoch * EpochColumns().size() + column]; NaN where null.
  std::vector<float> values;
  std::vector<std::string> layers;    // of live_filters, in the records' order
  std::vector<int32_t> live_filters;  // [epoch * layers.size() + layer]
  Measures totals;                    // the exact totals over the epochs; curves have fewer digits

  int64_t count() const { return static_cast<int64_t>(values.size() / EpochColumns().size()); }
  // NaN if it is null or there is no such epoch.
  float Value(int64_t epoch, size_t column) const;
};

// Reads the file; none, or an empty one, is no epoch. "" or why it cannot be used, and then `epochs` is empty: a line
// that is torn, was changed after it was written, is of another version, or does not follow the one before.
std::string ReadEpochs(const std::string& path, EpochCurves* epochs);

// How the result differs from what its epochs say, or "". What is null on either line says nothing.
std::string Disagreement(const EpochCurves& epochs, const RunResult& result);

}  // namespace prunelab
