#include "experiments/config/check_run.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "experiments/config/phases.h"
#include "experiments/config/run_network.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/compression/goal_config.h"
#include "ml/compression/group_importance.h"
#include "ml/compression/group_ranking_config.h"
#include "ml/models/model_builder.h"
#include "ml/network/channel_groups.h"
#include "ml/network/compactors.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/regularizers/regularizer.h"
#include "ml/training/training_config.h"

namespace prunelab {
namespace {

constexpr char kRegularizer[] = "regularization.regularizer";

absl::Status ValidateCompression(const Compression& compression) {
  if (compression.fine_tune_epochs() < 0) {
    return FieldError("fine_tune_epochs", absl::StrCat("is ", compression.fine_tune_epochs(), "; must be at least 0"));
  }
  for (const auto& [field, set] :
       {std::pair("rate", compression.has_rate()), std::pair("target", compression.has_target())}) {
    if (set && compression.mode() != Compression::COUPLED) {
      return FieldError(field, "goes with mode: COUPLED; in EXACT mode only masks decide");
    }
  }
  if (compression.has_groups()) {
    if (!compression.has_rate() && !compression.has_target()) {
      return FieldError("groups", "goes with rate or target; without them those groups go whose filters are all dead");
    }
    PRUNELAB_RETURN_IF_ERROR(InField("groups", ValidateGroupRanking(compression.groups())));
  }
  if (compression.has_target()) {
    if (compression.has_rate()) return FieldError("rate", "does not go with target, which finds it");
    PRUNELAB_RETURN_IF_ERROR(InField("target", ValidateGoal(compression.target())));
    if (IsMeasured(compression.target())) {
      return FieldError("target.latency",
                        "is measured, and a run computes the same on every machine; set macs or parameters here, and "
                        "prune to a latency by //tools:compress --target");
    }
  }
  if (!compression.has_rate()) return absl::OkStatus();
  if (!(compression.rate() >= 0 && compression.rate() < 1)) {
    return FieldError("rate", absl::StrCat("is ", compression.rate(), "; must be at least 0 and below 1"));
  }
  return absl::OkStatus();
}

// The field that says how to read initial weights although there are none, or that has no effect.
std::vector<absl::Status> CheckInitialWeightsFields(const RunConfig& config) {
  std::vector<absl::Status> errors;
  if (config.initial_weights().empty()) {
    constexpr char kAlone[] = "goes with initial_weights, which is not set; all weights are fresh without it";
    if (config.fresh_weights_size() > 0) errors.push_back(FieldError("fresh_weights", kAlone));
    if (!config.initial_weights_prefix().empty()) errors.push_back(FieldError("initial_weights_prefix", kAlone));
  }
  for (int i = 0; i < config.fresh_weights_size(); ++i) {
    if (!absl::StripAsciiWhitespace(config.fresh_weights(i)).empty()) continue;
    errors.push_back(FieldError(absl::StrCat("fresh_weights[", i, "]"),
                                "is empty; write a glob over names of weights, e.g. \"fc.*\""));
  }
  return errors;
}

// What a run's config, or one of its phases, sets itself.
struct ChosenPlugins {
  std::string field;                 // where they are, relative to RunConfig: "" or "phase[i]"
  std::optional<Training> training;  // for a phase: the run's with the phase's changes
  const google::protobuf::Any* pruning = nullptr;
  bool fresh_weights = false;  // at the first step of its strategy
  const Regularization* regularization = nullptr;
};

std::vector<ChosenPlugins> ChosenBy(const RunConfig& config) {
  // Only the first phase begins with what the run starts from.
  const bool fresh = !config.has_initial_weights() && !config.has_start_from();
  const bool first_has_own = config.phase_size() > 0 && config.phase(0).has_pruning();
  std::vector<ChosenPlugins> chosen = {
      {"", std::nullopt, &config.pruning(), fresh && !first_has_own, &config.regularization()}};
  const std::vector<RunPhase> phases = PhasesOf(config);
  for (int i = 0; i < config.phase_size(); ++i) {
    const Phase& phase = config.phase(i);
    ChosenPlugins own;
    own.field = absl::StrCat("phase[", i, "]");
    // For a phase without epochs only that is reported. The run's own schedule may not fit a phase's epochs.
    if (phase.epochs() >= 1) own.training = phases[i].training;
    if (phase.has_pruning()) own.pruning = &phase.pruning();
    own.fresh_weights = fresh && i == 0;
    if (phase.regularization().has_regularizer()) own.regularization = &phase.regularization();
    chosen.push_back(std::move(own));
  }
  return chosen;
}

class RunCheck {
 public:
  RunCheck(const RunConfig& config, uint64_t seed) : config_(config), seed_(seed), chosen_(ChosenBy(config)) {}

  std::vector<absl::Status> Errors() {
    dataset_ = DescribeRunDataset(config_);
    Check(dataset_.status());
    for (const absl::Status& status : CheckPhases(config_)) Check(status);
    for (const absl::Status& status : CheckInitialWeightsFields(config_)) Check(status);
    CheckTraining();
    CheckChoices();
    if (dataset_.ok()) {
      Check(InField("compression", ValidateCompression(config_.compression())));
      Check(InField("start_from.removal", ValidateCompression(config_.start_from().removal())));
      if (config_.start_from().removal().has_fine_tune_epochs()) {
        Check(FieldError("start_from.removal.fine_tune_epochs",
                         "is the run's own training here; leave it out, and set training.epochs"));
      }
      CheckBuilt();
    } else if (config_.has_network() || !config_.has_initial_weights()) {
      // Without the data's sizes a network may seem wrong through no fault of its own, so only its kind is checked.
      Check(InField("network", NetworkFamilies().CheckLinked(config_.network())));
    }
    return std::move(errors_);
  }

 private:
  bool Check(const absl::Status& status) {
    if (!status.ok()) errors_.push_back(status);
    return status.ok();
  }

  // Of a field where these plugins stand.
  bool CheckIn(const ChosenPlugins& chosen, absl::string_view field, const absl::Status& status) {
    return Check(InField(chosen.field, InField(field, status)));
  }

  void CheckTraining() {
    training_ok_ = Check(InField("training", ValidateTraining(config_.training())));
    if (training_ok_ && config_.training().has_quantization()) CheckQuantization();
    if (training_ok_ && dataset_.ok() && *dataset_) {
      Check(InField("training", CheckTrainingFitsData(config_.training(), **dataset_)));
    }
  }

  // What it must agree on with the rest of the run.
  void CheckQuantization() {
    const int64_t start = config_.training().quantization().start_epoch(), epochs = config_.training().epochs();
    if (start >= epochs) {
      Check(FieldError("training.quantization.start_epoch",
                       absl::StrCat("is ", start, "; must be from 0 to ", epochs - 1, ", an epoch of the run")));
    }
    if (config_.has_compression()) {
      Check(FieldError("compression",
                       "does not go with training.quantization: removal moves weights off the grids that were learnt; "
                       "remove in a run before, and begin this one from its removed.safetensors by initial_weights"));
    }
  }

  // What the run and its phases set, without a network.
  void CheckChoices() {
    for (ChosenPlugins& chosen : chosen_) {
      if (chosen.training && training_ok_) Check(InField(chosen.field, ValidateTraining(*chosen.training)));
      if (chosen.regularization != nullptr) {
        CheckIn(chosen, "regularization", ValidateRegularization(*chosen.regularization));
      }
      if (chosen.pruning != nullptr && !CheckIn(chosen, "pruning", PruningStrategies().CheckLinked(*chosen.pruning))) {
        chosen.pruning = nullptr;
      }
      if (chosen.regularization != nullptr &&
          !CheckIn(chosen, kRegularizer, Regularizers().CheckLinked(chosen.regularization->regularizer()))) {
        chosen.regularization = nullptr;
      }
    }
  }

  // What network, strategies and regularizers refuse when they are built.
  void CheckBuilt() {
    // As with missing data, a file that does not exist yet is looked for when a run needs it.
    const bool in_file = !config_.has_network() && config_.has_initial_weights();
    if (in_file && !PathExists(UserPath(config_.initial_weights()))) return;
    const absl::StatusOr<NetworkInfo> network = BuildRunNetwork(config_, *dataset_);
    if (!Check(network.status())) return;
    // Only the data tell how many images of each class can be set aside: RunAblation and DryRun check that.
    if (training_ok_ && *dataset_ && config_.training().validation_fraction() == 0) {
      Check(InField("training", CheckLastBatch(config_.training(), *network, (*dataset_)->train_images)));
    }
    const std::vector<ChannelGroup> groups = FindChannelGroups(*network);
    Check(InField("compression.groups", CheckImportance(config_.compression().groups().importance(), groups)));
    Check(InField("start_from.removal.groups", CheckImportance(config_.start_from().removal().groups().importance(),
                                                               FindChannelGroups(WithoutCompactors(*network)))));
    PruningSetup setup;
    setup.network = &*network;
    setup.seed = seed_;
    for (const ChosenPlugins& chosen : chosen_) {
      if (chosen.pruning != nullptr) {
        setup.fresh_weights = chosen.fresh_weights;
        CheckIn(chosen, "pruning", CreatePruningStrategy(*chosen.pruning, setup).status());
      }
      if (chosen.regularization != nullptr) {
        CheckIn(chosen, kRegularizer, CreateRegularizer(chosen.regularization->regularizer(), *network).status());
      }
    }
  }

  const RunConfig& config_;
  const uint64_t seed_;
  std::vector<ChosenPlugins> chosen_;  // less what turns out not to be linked
  absl::StatusOr<std::optional<DatasetInfo>> dataset_;
  bool training_ok_ = false;
  std::vector<absl::Status> errors_;
};

}  // namespace

std::vector<absl::Status> CheckRun(const RunConfig& config, uint64_t seed) { return RunCheck(config, seed).Errors(); }

}  // namespace prunelab
