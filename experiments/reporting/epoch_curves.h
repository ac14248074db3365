// The lines of a run's epochs.jsonl, read into arrays without making a tree of them: there may be hundreds of
// thousands.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace prunelab {

// The numbers of an epoch that are drawn or held against the result; the first must be "epoch".
inline constexpr const char* kEpochColumns[] = {"epoch",
                                                "learning_rate",
                                                "train_loss",
                                                "train_top1",
                                                "test_loss",
                                                "test_top1",
                                                "test_top5",
                                                "validation_loss",
                                                "validation_top1",
                                                "penalty",
                                                "penalty_gradient_ratio",
                                                "mean_abs_rho",
                                                "mask_changes",
                                                "returned_filters",
                                                "filter_sparsity",
                                                "weight_sparsity",
                                                "paper_sparsity",
                                                "live_parameters",
                                                "live_macs",
                                                "diverged"};
inline constexpr int kEpochColumnCount = sizeof(kEpochColumns) / sizeof(kEpochColumns[0]);

// The version of records that this program reads; those that name none are of it.
inline constexpr double kRecordsVersion = 1;

// The column of a name, or -1.
int EpochColumn(absl::string_view name);

struct EpochCurves {
  // epochs[e * kEpochColumnCount + column]; not-a-number where null. Empty where there are no usable lines.
  std::vector<float> epochs;
  std::vector<std::string> layers;    // with live_filters, in the records' order
  std::vector<int32_t> live_filters;  // [epoch * layers.size() + layer]
  int64_t epoch_count() const { return static_cast<int64_t>(epochs.size()) / kEpochColumnCount; }
};

// A number of a record as it stands there: whole ones exactly, of whatever size.
struct RecordNumber {
  double real = std::nan("");  // also where it is null or not there
  std::optional<int64_t> whole;
};

// What a run's epochs come to, exactly: curves are held in fewer digits.
struct EpochTotals {
  RecordNumber last[kEpochColumnCount];
  double best_test_top1 = std::nan("");
  std::optional<int64_t> returned_filters = 0;  // of all epochs; no value: more than can be held
};

// Reads epochs.jsonl at `path`; a file that is not there has no epochs. Returns "" or why its epochs cannot be used,
// e.g. "epochs.jsonl line 3 was changed ..."; then `curves` has none.
std::string ReadEpochs(const std::string& path, EpochCurves* curves, EpochTotals* totals);

}  // namespace prunelab
