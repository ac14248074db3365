#include "experiments/config/arms.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "experiments/config/phases.h"
#include "ml/base/glob.h"
#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"

namespace prunelab {
namespace {

constexpr char kNoPruning[] = "prunelab.NoPruning";

google::protobuf::Any EmptyPlugin(const char* type) {
  google::protobuf::Any any;
  any.set_type_url(absl::StrCat("type.googleapis.com/", type));
  return any;
}

std::vector<std::string> LevelNames(const Ablation& ablation, const std::vector<int>& levels) {
  std::vector<std::string> names;
  for (size_t f = 0; f < levels.size(); ++f) {
    names.push_back(ablation.factor(static_cast<int>(f)).level(levels[f]).name());
  }
  return names;
}

bool IsRun(const Ablation& ablation, const std::string& name) {
  const auto matches = [&](const std::string& glob) { return GlobMatches(glob, name); };
  const auto any = [&](const auto& globs) { return std::any_of(globs.begin(), globs.end(), matches); };
  return !any(ablation.exclude()) && (ablation.include().empty() || any(ablation.include()));
}

// Goes to the next arm's levels, the last factor's first; false after the last arm.
bool NextLevels(const Ablation& ablation, std::vector<int>* levels) {
  for (int f = ablation.factor_size() - 1; f >= 0; --f) {
    if (++(*levels)[f] < ablation.factor(f).level_size()) return true;
    (*levels)[f] = 0;
  }
  return false;
}

}  // namespace

absl::Status InArm(const Arm& arm, const std::string& field, const absl::Status& status) {
  const auto place = arm.places.find(field);
  return absl::Status(status.code(), absl::StrCat(place == arm.places.end() ? "" : absl::StrCat(place->second, ": "),
                                                  "arm \"", arm.name, "\": ", status.message()));
}

std::optional<int64_t> CountArms(const Ablation& ablation) {
  int64_t arms = 1;
  for (const Factor& factor : ablation.factor()) {
    arms *= factor.level_size();
    if (arms > kMaxArms) return std::nullopt;
  }
  return arms;
}

std::vector<ArmLevels> ExpandArms(const Ablation& ablation) {
  std::vector<ArmLevels> arms;
  const auto is_empty = [](const Factor& factor) { return factor.level().empty(); };
  if (std::any_of(ablation.factor().begin(), ablation.factor().end(), is_empty)) return arms;
  std::vector<int> levels(ablation.factor_size(), 0);
  do {
    ArmLevels& arm = arms.emplace_back();
    arm.name = levels.empty() ? "base" : absl::StrJoin(LevelNames(ablation, levels), "/");
    arm.levels = levels;
    arm.is_run = IsRun(ablation, arm.name);
  } while (NextLevels(ablation, &levels));
  return arms;
}

std::vector<std::string> ArmNames(const Ablation& ablation) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const ArmLevels& arm : ExpandArms(ablation)) {
    if (arm.is_run && seen.insert(arm.name).second) names.push_back(arm.name);
  }
  return names;
}

absl::StatusOr<Arm> MergedArm(const Ablation& ablation, const ArmLevels& levels) {
  Arm arm;
  arm.name = levels.name;
  arm.config = ablation.base();
  for (size_t f = 0; f < levels.levels.size(); ++f) {
    const Level& level = ablation.factor(static_cast<int>(f)).level(levels.levels[f]);
    arm.levels.push_back(level.name());
    PRUNELAB_RETURN_IF_ERROR(MergePatch(level.patch(), &arm.config));
  }
  return arm;
}

void FillIn(RunConfig* config) {
  if (!config->has_pruning()) *config->mutable_pruning() = EmptyPlugin(kNoPruning);
  FillInRegularization(config->mutable_regularization());
  Training* training = config->mutable_training();
  if (training->optimizer_case() == Training::OPTIMIZER_NOT_SET) training->mutable_sgd();
  if (training->schedule().kind_case() == Schedule::KIND_NOT_SET) training->mutable_schedule()->mutable_constant();
  FillInPhases(config);
}

}  // namespace prunelab
