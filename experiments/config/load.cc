#include "experiments/config/load.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "experiments/config/check_ablation.h"
#include "experiments/config/check_run.h"
#include "experiments/config/names.h"
#include "experiments/config/places.h"
#include "experiments/config/seed_files.h"
#include "experiments/config/source_arm.h"
#include "experiments/config/trials.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"

namespace prunelab {
namespace {

constexpr char kOverride[] = "--override";
constexpr char kPenaltyWeight[] = "regularization.weight", kPenaltyGrowth[] = "regularization.growth";

// Turns the file and the override into a LoadedAblation and collects errors.
class Loader {
 public:
  Loader(const Ablation& file, const TextProtoSource& file_source, const Ablation& overriding,
         const TextProtoSource& override_source)
      : texts_{loaded_.ablation, file, file_source, overriding, override_source} {}

  absl::StatusOr<LoadedAblation> Load() {
    loaded_.ablation = texts_.file;
    PRUNELAB_RETURN_IF_ERROR(MergePatch(texts_.overriding, &loaded_.ablation));
    CheckNameAndSeeds(ablation(), errors_);
    if (ablation().has_search()) PRUNELAB_RETURN_IF_ERROR(MakeTrials());
    if (!CheckFactors(ablation(), errors_)) return errors_.ToStatus();
    PRUNELAB_RETURN_IF_ERROR(MakeArms());
    for (size_t i = 0; i < loaded_.arms.size(); ++i) CheckArm(loaded_.arms[i], levels_[i]);
    if (ablation().has_search()) CheckTrials(ablation(), loaded_.arms, errors_);
    CheckComparisons(ablation(), loaded_.arms, excluded_, errors_);
    PRUNELAB_RETURN_IF_ERROR(errors_.ToStatus());
    return std::move(loaded_);
  }

 private:
  const Ablation& ablation() const { return loaded_.ablation; }

  // Puts the trials of a search in the place of factors.
  absl::Status MakeTrials() {
    std::vector<absl::Status> errors = CheckSearch(ablation());
    if (errors.empty()) {
      const absl::Status added = AddTrials(&loaded_.ablation);
      if (!added.ok()) errors.push_back(added);
    }
    for (const absl::Status& status : errors) errors_.Add(ErrorField(status), ErrorText(status));
    return errors_.ToStatus();
  }

  absl::Status MakeArms() {
    const std::vector<ArmLevels> all = ExpandArms(ablation());
    bool any_regularizer = false;
    std::optional<std::string> idle_weight;  // where an arm without a penalty sets a penalty's weight, or its growth
    const char* idle_field = kPenaltyWeight;
    for (const ArmLevels& levels : all) {
      PRUNELAB_ASSIGN_OR_RETURN(Arm arm, MergedArm(ablation(), levels));
      const Regularization& regularization = arm.config.regularization();
      if (regularization.has_regularizer()) {
        any_regularizer = true;
      } else if (!idle_weight && regularization.has_growth()) {
        idle_field = kPenaltyGrowth;
        idle_weight = PlaceInArm(texts_, arm.config, levels.levels, kPenaltyGrowth);
      } else if (regularization.has_weight() && regularization.weight() != 0 && !idle_weight) {
        idle_weight = PlaceInArm(texts_, arm.config, levels.levels, kPenaltyWeight);
      }
      if (!levels.is_run) {
        excluded_.insert(levels.name);
        continue;
      }
      FillIn(&arm.config);
      loaded_.arms.push_back(std::move(arm));
      levels_.push_back(levels.levels);
    }
    // An arm without a penalty is a control. But if no arm has a penalty and there is a weight, the regularizer was
    // forgotten.
    if (idle_weight && !any_regularizer) {
      errors_.AddAt(
          *idle_weight, idle_field,
          "is set, but no arm has a regularizer; name one, e.g. regularizer { [type.googleapis.com/prunelab.Cov] "
          "{} }, or leave it out");
    }
    CheckSelection(ablation(), all, errors_);
    return absl::OkStatus();
  }

  void CheckArm(Arm& arm, const std::vector<int>& levels) {
    const auto place = [&](absl::string_view field) { return PlaceInArm(texts_, arm.config, levels, field); };
    const int64_t seed = ablation().seeds().first();
    for (const absl::Status& status : CheckRun(ForSeed(arm.config, seed), static_cast<uint64_t>(seed))) {
      const std::string at = place(ErrorField(status));
      // Of the many values that may be drawn wrongly for one parameter, one is enough.
      if (ablation().has_search() && !faults_of_trials_.emplace(at, ErrorField(status)).second) continue;
      errors_.AddAt(at, ErrorField(status), ErrorText(status));
    }
    for (const char* field :
         {"initial_weights", "training.batch_size", "training.validation_fraction", "training.teacher.checkpoint"}) {
      arm.places[field] = place(field);
    }
    arm.places["dataset"] = place("dataset.path");
    const char* const source = arm.config.has_start_from() ? "start_from.arm" : "from_scratch.arm";
    const std::string fault = SourceFault(arm.config);
    if (!fault.empty()) errors_.AddAt(place(source), source, fault);
  }

  // What is wrong with the arm that a run waits for, or "".
  std::string SourceFault(const RunConfig& config) const {
    if (!HasSource(config)) return "";
    const std::string& source = SourceArm(config);
    const auto found =
        std::find_if(loaded_.arms.begin(), loaded_.arms.end(), [&](const Arm& arm) { return arm.name == source; });
    if (found == loaded_.arms.end()) {
      std::vector<std::string> names;
      for (const Arm& arm : loaded_.arms) names.push_back(arm.name);
      return absl::StrCat("no arm that is run is called ", Quote(source), ArmChoices(source, names));
    }
    if (HasSource(found->config)) {
      return absl::StrCat(Quote(source), " ", SourceVerb(found->config), " another arm itself; name one that does not");
    }
    if (config.has_start_from() && config.has_from_scratch()) return "does not go with from_scratch; set one of them";
    if (config.has_start_from() && !config.start_from().has_removal() && config.training().has_quantization() &&
        found->config.has_compactors() && !found->config.has_compression()) {
      return absl::StrCat(Quote(source), " ends with compactors, which do not go with training.quantization; give it ",
                          "compression {}, which merges them");
    }
    if (config.has_from_scratch() && config.has_compactors()) {
      return "gives the network, so compactors do not go with it; leave them unset in this arm";
    }
    if (config.has_from_scratch() && found->config.has_compactors()) {
      return absl::StrCat(Quote(source), " has compactors, and what they are merged to has no batch norms, so that ",
                          "from scratch it would be another network; name an arm without them");
    }
    if (config.has_start_from() &&
        config.network().SerializeAsString() != found->config.network().SerializeAsString()) {
      return absl::StrCat("its network is not that of ", Quote(source), ", with which it starts; set the same in both");
    }
    if (!config.has_initial_weights()) return "";
    return config.has_start_from() ? "does not go with initial_weights; leave them unset in this arm"
                                   : "goes with fresh weights; leave initial_weights unset in this arm";
  }

  LoadedAblation loaded_;
  const AblationTexts texts_;
  AblationErrors errors_{texts_};
  std::vector<std::vector<int>> levels_;  // of each arm
  std::set<std::string> excluded_;
  std::set<std::pair<std::string, std::string>> faults_of_trials_;  // place and field
};

}  // namespace

absl::StatusOr<LoadedAblation> LoadAblation(const std::string& path, absl::string_view override_text) {
  Ablation file, overriding;
  const absl::StatusOr<std::unique_ptr<TextProtoSource>> file_source =
      TextProtoSource::ParseFile(UserPath(path), &file);
  const absl::StatusOr<std::unique_ptr<TextProtoSource>> override_source =
      TextProtoSource::Parse(kOverride, override_text, &overriding);
  if (!file_source.ok() && !override_source.ok()) {
    return absl::Status(file_source.status().code(),
                        absl::StrCat(file_source.status().message(), "\n", override_source.status().message()));
  }
  PRUNELAB_RETURN_IF_ERROR(file_source.status());
  PRUNELAB_RETURN_IF_ERROR(override_source.status());
  return Loader(file, **file_source, overriding, **override_source).Load();
}

absl::StatusOr<std::vector<Arm>> ArmsAsWritten(const std::string& text) {
  Ablation ablation;
  PRUNELAB_RETURN_IF_ERROR(TextProtoSource::Parse("ablation", text, &ablation).status());
  if (CountArms(ablation).value_or(0) < 1) return absl::InvalidArgumentError("has no arms, or more than can be");
  std::vector<Arm> arms;
  for (const ArmLevels& levels : ExpandArms(ablation)) {
    PRUNELAB_ASSIGN_OR_RETURN(Arm arm, MergedArm(ablation, levels));
    FillIn(&arm.config);
    arms.push_back(std::move(arm));
  }
  return arms;
}

}  // namespace prunelab
