// Results folders read back for the report: runs with their curves, where they came from, and everything in them that
// is incomplete, damaged, changed by hand or does not fit together, which is said and left out.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const ReportRecords records, ReadResults({"runs/digits"}));
//   for (const std::string& note : records.notes) ...  // "none/cov seed 3 is left out: ..."
//
// Works from the records alone (docs/results.md): no data, no weights. Plugins that are not linked cost only what they
// would tell: whether an arm masks filters or weights, and the number of classes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "experiments/config/ablation.pb.h"
#include "experiments/records/records.h"
#include "experiments/reporting/analysis.h"

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

struct RunRecords {
  RunResult result;    // of status "missing" where there is none that can be used
  std::string folder;  // where the run's records are
  // epochs[e * kEpochColumnCount + column]; not-a-number where null. Empty where there are no usable lines.
  std::vector<float> epochs;
  std::vector<std::string> layers;    // with live_filters, in the records' order
  std::vector<int32_t> live_filters;  // [epoch * layers.size() + layer]
  std::map<std::string, std::string> provenance;
  int64_t epoch_count() const { return static_cast<int64_t>(epochs.size()) / kEpochColumnCount; }
};

struct ReportRecords {
  Ablation ablation;                           // of the first folder that has one
  std::string ablation_text;                   // its file as it stands
  std::optional<Ablation> planned;             // as it was before the first run
  std::vector<std::string> folders;            // as given
  std::vector<ArmFacts> arms;                  // in the ablation's order, then those that only folders know
  std::map<std::string, std::string> configs;  // arm -> config.textproto of its first run that is used
  std::vector<RunRecords> runs;  // by arm, then seed; those missing that results.csv or the ablation tell of included
  // What a reader must know first: what is incomplete, left out, or mixed.
  std::vector<std::string> notes;
};

// Errors: a folder that cannot be read or holds no ablation and no runs.
absl::StatusOr<ReportRecords> ReadResults(const std::vector<std::string>& folders);

// The types of the plugins that a run's config.textproto chooses for a field, its phases' too, each once, joined by
// "+", e.g. "prunelab.DynamicL1" for "pruning", or "". Read from the text: they may not be linked here.
std::string PluginType(const std::string& config, absl::string_view field);

// The ablation's arms by name, in their order, those excluded left out: what LoadAblation makes of it, without its
// plugins.
std::vector<std::string> ArmNames(const Ablation& ablation);

// Writes planned.textproto, the ablation as it is before the first run, into a results folder where no run has a result
// yet; else leaves it alone. A comparison that is not in it was written down later, and is labelled so.
absl::Status KeepPlan(const std::string& output, const std::string& ablation_text);

}  // namespace prunelab
