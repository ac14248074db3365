// Ablation files (ablation.proto): loading, the arms that follow, and the identity of a run.
//
//   PRUNELAB_ASSIGN_OR_RETURN(LoadedAblation loaded, LoadAblation("digits.textproto", "seeds { count: 1 }"));
//   for (const Arm& arm : loaded.arms) ...  // arm.config is complete
//
// Whatever a config alone can have wrong is found here, before anything is trained or written.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "experiments/config/ablation.pb.h"
#include "ml/data/dataset.h"
#include "ml/network/network.h"

namespace prunelab {

struct Arm {
  std::string name;                 // the levels' names joined by "/"; "base" without factors
  std::vector<std::string> levels;  // one name a factor
  // Base and patches merged; pruning, regularizer, optimizer and schedule are always set (NoPruning, NoRegularizer with
  // weight 0, sgd, constant where the file sets none).
  RunConfig config;
  // Where the fields that name files were set last, "file:line:col" by field ("initial_weights", "dataset"); for errors
  // that only the files' contents can show.
  std::map<std::string, std::string> places;
};

struct LoadedAblation {
  Ablation ablation;      // file and override merged
  std::vector<Arm> arms;  // the first factor's level varies slowest; those excluded are left out; never empty
};

// Loads the Ablation at `path` (as UserPath takes it), with `override_text`, more text of an Ablation, merged over it
// by MergePatch; "" is none. Plugins are checked by building them: network, strategy and regularizer of every arm, and
// what the data set says of itself. Data that are not there are no error here.
//
// Errors are lines "file:line:col: what; what would be right", all that were found, each once; an error of an arm
// stands where the field was set last, one in the override at "--override:line:col".
absl::StatusOr<LoadedAblation> LoadAblation(const std::string& path, absl::string_view override_text);

// The arms that an Ablation's text (ablation.textproto of a results folder) makes, those excluded too, unchecked: a run
// of an arm belongs to the ablation if it was made with this config. Errors: it does not parse, e.g. by plugins that
// are not linked.
absl::StatusOr<std::vector<Arm>> ArmsAsWritten(const std::string& text);

// The arms that `glob` matches. An error, with the arms there are, if one of its comma-separated parts matches none.
absl::StatusOr<std::vector<Arm>> SelectArms(const std::vector<Arm>& arms, absl::string_view glob);

// "3-12" -> first 3, count 10; "5" -> first 5, count 1.
absl::StatusOr<Seeds> ParseSeeds(absl::string_view text);

// What the data set of a run says of itself; no value where its data must be read for that and are not there. Errors
// are field errors relative to RunConfig ("dataset...").
absl::StatusOr<std::optional<DatasetInfo>> DescribeRunDataset(const RunConfig& config);

// Whether a run's training can be done with data of these sizes: batches no larger than them, crop padding no larger
// than an image. Field errors relative to Training.
absl::Status CheckTrainingFitsData(const Training& training, const DatasetInfo& dataset);

// The same, and how many images an epoch trains on, once the data are read: a class of which validation would leave
// nothing, batches larger than what is left, a last batch of one image that a batch norm of `network` cannot take.
absl::StatusOr<int64_t> CheckTrainingOnData(const Training& training, const NetworkInfo& network,
                                            const Dataset& dataset);

// The network of a run on the data set (no value: unknown, the family's own defaults hold). Field errors relative to
// RunConfig ("network..."): parameters refused, a network whose images or classes are not the data's.
absl::StatusOr<NetworkInfo> BuildRunNetwork(const RunConfig& config, const std::optional<DatasetInfo>& dataset);

// A run's identity: SHA-256 (64 hexadecimal digits) of the config's canonical text, the seed and the data's
// fingerprint. The arm's name and fields marked (prunelab.execution) take no part. `config` is an Arm's.
std::string RunId(const RunConfig& config, int64_t seed, absl::string_view fingerprint);

// How the canonical configs differ, a line for each field, "- training.sgd.learning_rate: 0.1" then "+ ...: 0.2"; "" if
// they do not.
std::string ArmDifference(const RunConfig& old_config, const RunConfig& new_config);

// The text of config.textproto in a run's folder: a RunConfig with its plugins expanded, which reads back equal.
std::string ResolvedText(const RunConfig& config);

}  // namespace prunelab
