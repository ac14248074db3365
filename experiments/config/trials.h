// The trials of a search over hyperparameters (Search in ablation.proto): what is drawn for each, and the levels of a
// factor that they become, so that everything else sees arms.
//
//   if (ablation.has_search()) PRUNELAB_RETURN_IF_ERROR(AddTrials(&ablation));
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "experiments/config/ablation.pb.h"

namespace prunelab {

// The factor whose levels are the trials. They are called trial_000, trial_001, ...: arms are, too.
inline constexpr char kTrialFactor[] = "trial";
inline constexpr int64_t kMaxTrials = 10000, kMaxParallelTrials = 1000, kMaxSearchEpochs = 1'000'000'000;

std::string TrialName(int64_t trial);

// In tables: its name, or the last part of its field.
std::string ParameterName(const SearchParameter& parameter);

// What is drawn for each parameter of a trial, as text: a number with six digits, or the level's name. It depends on
// nothing but the search's seed, the numbers of trial and parameter, and the parameter's own values.
std::vector<std::string> DrawnValues(const Search& search, int64_t trial);

// The epochs to which trials are trained before they are compared: ascending, the last is `epochs`. first_epochs is
// from 1 to `epochs`.
std::vector<int64_t> Rungs(const Search& search, int64_t epochs);

// About how many epochs the trials of one seed take together: as many as if each rung were compared as a whole.
int64_t ExpectedEpochs(const Search& search, int64_t epochs);

// What is wrong with the search as such, field errors relative to the Ablation; empty: nothing.
std::vector<absl::Status> CheckSearch(const Ablation& ablation);

// Makes the trials the ablation's only factor; their runs do not look at the test data. CheckSearch has passed. Errors:
// a parameter's field that does not exist in the base, or that cannot have its values, as a field error.
absl::Status AddTrials(Ablation* ablation);

// The text of a RunConfig that sets the field at `path` to `value`, as text protos write it. Inside a plugin it is the
// plugin that `config` has there. Errors: there is no such field, or it is no single number; they say what would be
// right.
absl::StatusOr<std::string> PatchText(const RunConfig& config, absl::string_view path, absl::string_view value,
                                      bool whole);

}  // namespace prunelab
