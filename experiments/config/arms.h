// The arms of an ablation: the cross product of its factors' levels, and the complete config of each.
//
//   for (const ArmLevels& levels : ExpandArms(ablation)) {
//     PRUNELAB_ASSIGN_OR_RETURN(Arm arm, MergedArm(ablation, levels));
//     FillIn(&arm.config);
//   }
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"

namespace prunelab {

// The most arms and seeds that an ablation may have.
inline constexpr int64_t kMaxArms = 10000, kMaxSeeds = 1000000;

struct Arm {
  std::string name;                 // the levels' names joined by "/"; "base" without factors
  std::vector<std::string> levels;  // one name per factor
  // Base and patches merged. Pruning, regularizer, optimizer and schedule are always set (NoPruning, NoRegularizer with
  // weight 0, sgd, constant if the file sets none).
  RunConfig config;
  // Where fields were set last that only the contents of files can show to be wrong, "file:line:col" by field:
  // "initial_weights", "dataset", "training.batch_size", "training.validation_fraction".
  std::map<std::string, std::string> places;
};

// The error of a field of the arm's config, after its place, where that is known, and the arm's name.
absl::Status InArm(const Arm& arm, const std::string& field, const absl::Status& status);

// An arm by its levels, without its config: it needs no plugins.
struct ArmLevels {
  std::string name;         // as Arm's
  std::vector<int> levels;  // for each factor the index of its level
  bool is_run = true;       // it is not excluded, and included where the ablation says which arms are
};

// How many arms the factors make, those excluded too. No value: more than kMaxArms.
std::optional<int64_t> CountArms(const Ablation& ablation);

// All arms, those excluded too; the first factor's level varies slowest. Empty where a factor has no level. The
// ablation has no more than kMaxArms.
std::vector<ArmLevels> ExpandArms(const Ablation& ablation);

// The names of the arms that are run, in that order, each once (a text that was changed by hand may name two levels
// alike).
std::vector<std::string> ArmNames(const Ablation& ablation);

// The arm, its config being the base with the patches of its levels merged over it, and nothing filled in. Errors:
// MergePatch's.
absl::StatusOr<Arm> MergedArm(const Ablation& ablation, const ArmLevels& levels);

// Sets what a config leaves unset, so that two ways to write a run have one identity.
void FillIn(RunConfig* config);

}  // namespace prunelab
