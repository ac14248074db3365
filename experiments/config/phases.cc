#include "experiments/config/phases.h"

#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/plugin.h"

namespace prunelab {
namespace {

// A forgotten regularizer, or one that was thought to be the run's.
bool HasIdleWeight(const Regularization& regularization) {
  return !regularization.has_regularizer() &&
         ((regularization.has_weight() && regularization.weight() != 0) || regularization.has_growth());
}

// The errors of the phase at `index`. `first_epoch`: the epochs of those before it; `names`: theirs, with their places.
void CheckPhase(const Phase& phase, int index, int64_t first_epoch, std::map<std::string, int>* names,
                std::vector<absl::Status>* errors) {
  const auto refuse = [&](absl::string_view field, const std::string& text) {
    errors->push_back(FieldError(absl::StrCat("phase[", index, "].", field), text));
  };
  if (phase.name().empty()) {
    refuse("name", "is not set; say what the phase is called, e.g. name: \"fine_tune\"");
  } else {
    const auto [first, is_new] = names->emplace(phase.name(), index);
    if (!is_new) {
      refuse("name", absl::StrCat("is \"", phase.name(), "\", as is that of phase[", first->second,
                                  "]; give each a name of its own"));
    }
  }
  if (!phase.has_epochs()) {
    refuse("epochs", "is not set; say how many passes over the training data the phase makes, e.g. epochs: 5");
  } else if (phase.epochs() < 1) {
    refuse("epochs", absl::StrCat("is ", phase.epochs(), "; must be at least 1"));
  }
  if (phase.has_rewind_to_epoch() && !(phase.rewind_to_epoch() >= 0 && phase.rewind_to_epoch() <= first_epoch)) {
    refuse("rewind_to_epoch", absl::StrCat("is ", phase.rewind_to_epoch(), "; must be from 0 to ", first_epoch,
                                           ", the epochs of the phases before"));
  }
  if (phase.has_sgd() && phase.has_adamw()) {
    refuse("adamw", "is set beside sgd, but a phase has one optimizer; leave one of them out");
  }
  if (HasIdleWeight(phase.regularization())) {
    refuse("regularization.weight",
           absl::StrCat("is ", phase.regularization().weight(),
                        ", but the phase has no regularizer; name it here, even where it is the run's, or leave the "
                        "weight out"));
  }
}

}  // namespace

void FillInRegularization(Regularization* regularization) {
  constexpr char kNoRegularizer[] = "prunelab.NoRegularizer";
  if (!regularization->has_regularizer()) {
    regularization->mutable_regularizer()->set_type_url(absl::StrCat("type.googleapis.com/", kNoRegularizer));
  }
  if (AnyTypeName(regularization->regularizer()) == kNoRegularizer) {
    regularization->set_weight(0);
    regularization->clear_growth();
  }
}

std::vector<RunPhase> PhasesOf(const RunConfig& config) {
  RunPhase whole;
  whole.training = config.training();
  whole.pruning = config.pruning();
  whole.regularization = config.regularization();
  if (config.phase().empty()) return {whole};
  std::vector<RunPhase> phases;
  int64_t first_epoch = 0;
  for (const Phase& own : config.phase()) {
    RunPhase phase = whole;
    phase.name = own.name();
    phase.first_epoch = first_epoch;
    phase.training.set_epochs(own.epochs());
    // If the run has the other optimizer, it is replaced.
    if (own.has_sgd()) phase.training.mutable_sgd()->MergeFrom(own.sgd());
    if (own.has_adamw()) phase.training.mutable_adamw()->MergeFrom(own.adamw());
    if (own.has_schedule()) *phase.training.mutable_schedule() = own.schedule();
    if (own.has_pruning()) phase.pruning = own.pruning();
    if (own.has_regularization()) phase.regularization = own.regularization();
    if (own.has_rewind_to_epoch()) phase.rewind_to_epoch = own.rewind_to_epoch();
    phases.push_back(std::move(phase));
    first_epoch += own.epochs();
  }
  return phases;
}

bool IsToMask(const google::protobuf::Any& pruning) {
  if (AnyTypeName(pruning) == "prunelab.NoPruning") return false;
  const absl::StatusOr<std::unique_ptr<google::protobuf::Message>> parameters = UnpackAny(pruning);
  if (!parameters.ok()) return true;  // not known here
  const google::protobuf::FieldDescriptor* rate = (*parameters)->GetDescriptor()->FindFieldByName("rate");
  return rate == nullptr || rate->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE ||
         rate->is_repeated() || (*parameters)->GetReflection()->GetDouble(**parameters, rate) != 0;
}

void FillInPhases(RunConfig* config) {
  if (config->phase().empty()) return;
  int64_t epochs = 0;
  for (Phase& phase : *config->mutable_phase()) {
    epochs += phase.epochs();
    if (phase.has_regularization() && !HasIdleWeight(phase.regularization())) {
      FillInRegularization(phase.mutable_regularization());
    }
    if (phase.has_schedule() && phase.schedule().kind_case() == Schedule::KIND_NOT_SET) {
      phase.mutable_schedule()->mutable_constant();
    }
  }
  if (!config->training().has_epochs()) config->mutable_training()->set_epochs(epochs);
}

std::vector<absl::Status> CheckPhases(const RunConfig& config) {
  std::vector<absl::Status> errors;
  std::map<std::string, int> names;
  int64_t epochs = 0;
  for (int i = 0; i < config.phase_size(); ++i) {
    CheckPhase(config.phase(i), i, epochs, &names, &errors);
    epochs += config.phase(i).epochs();
  }
  if (errors.empty() && config.phase_size() > 0 && config.training().epochs() != epochs) {
    errors.push_back(
        FieldError("training.epochs", absl::StrCat("is ", config.training().epochs(), ", but the phases have ", epochs,
                                                   " in all; leave it unset, or make them equal")));
  }
  return errors;
}

}  // namespace prunelab
