#include "ml/training/training_config.h"

#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

absl::Status CheckAtLeast(absl::string_view field, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be at least ", least));
}

absl::Status CheckNotNegative(absl::string_view field, double value) {
  if (value >= 0 && std::isfinite(value)) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be a finite number, at least 0"));
}

absl::Status CheckPositive(absl::string_view field, double value) {
  if (value > 0 && std::isfinite(value)) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be a finite number above 0"));
}

absl::Status ValidateSgd(const Sgd& sgd) {
  PRUNELAB_RETURN_IF_ERROR(CheckPositive("learning_rate", sgd.learning_rate()));
  if (!(sgd.momentum() >= 0 && sgd.momentum() < 1)) {
    return FieldError("momentum", absl::StrCat("is ", sgd.momentum(), "; must be in [0, 1)"));
  }
  if (!(sgd.dampening() >= 0 && sgd.dampening() <= 1)) {
    return FieldError("dampening", absl::StrCat("is ", sgd.dampening(), "; must be in [0, 1]"));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckNotNegative("weight_decay", sgd.weight_decay()));
  if (sgd.nesterov() && sgd.momentum() == 0) {
    return FieldError("nesterov", "is true, but momentum is 0; give a momentum such as 0.9, or leave nesterov out");
  }
  if (sgd.nesterov() && sgd.dampening() != 0) {
    return FieldError("nesterov", absl::StrCat("is true, but dampening is ", sgd.dampening(),
                                               "; Nesterov's momentum needs dampening 0"));
  }
  return absl::OkStatus();
}

absl::Status ValidateSchedule(const Schedule& schedule, int64_t epochs) {
  switch (schedule.kind_case()) {
    case Schedule::kConstant:
    case Schedule::KIND_NOT_SET:
      break;
    case Schedule::kStep:
      PRUNELAB_RETURN_IF_ERROR(InField("step", CheckAtLeast("period", schedule.step().period(), 1)));
      PRUNELAB_RETURN_IF_ERROR(InField("step", CheckPositive("gamma", schedule.step().gamma())));
      break;
    case Schedule::kMultiStep: {
      const MultiStepSchedule& kind = schedule.multi_step();
      if (kind.milestone_size() == 0) {
        return FieldError("multi_step",
                          "has no milestone; name the epochs at which the rate falls, e.g. milestone: [100, 150]");
      }
      int64_t previous = 0;
      for (int i = 0; i < kind.milestone_size(); ++i) {
        if (kind.milestone(i) <= previous) {
          return FieldError(absl::StrCat("multi_step.milestone[", i, "]"),
                            absl::StrCat("is ", kind.milestone(i), "; milestones must increase, from 1 on"));
        }
        previous = kind.milestone(i);
      }
      PRUNELAB_RETURN_IF_ERROR(InField("multi_step", CheckPositive("gamma", kind.gamma())));
      break;
    }
    case Schedule::kCosine:
      PRUNELAB_RETURN_IF_ERROR(
          InField("cosine", CheckNotNegative("final_learning_rate", schedule.cosine().final_learning_rate())));
      break;
  }
  if (schedule.warmup_epochs() < 0 || schedule.warmup_epochs() > epochs) {
    return FieldError("warmup_epochs",
                      absl::StrCat("is ", schedule.warmup_epochs(), "; must be from 0 to epochs (", epochs, ")"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateTraining(const Training& training) {
  if (!training.has_epochs()) {
    return FieldError("epochs", "is not set; say how many passes over the training data to make, e.g. epochs: 20");
  }
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("epochs", training.epochs(), 1));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("batch_size", training.batch_size(), 1));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("evaluate_every", training.evaluate_every(), 1));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("evaluation_batch_size", training.evaluation_batch_size(), 1));
  PRUNELAB_RETURN_IF_ERROR(InField("sgd", ValidateSgd(training.sgd())));
  PRUNELAB_RETURN_IF_ERROR(InField("schedule", ValidateSchedule(training.schedule(), training.epochs())));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("random_crop_padding", training.random_crop_padding(), 0));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("bn_recalibration_batches", training.bn_recalibration_batches(), 0));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("checkpoint_every", training.checkpoint_every(), 0));
  PRUNELAB_RETURN_IF_ERROR(CheckPositive("checkpoint_minutes", training.checkpoint_minutes()));
  if (!(training.validation_fraction() >= 0 && training.validation_fraction() < 1)) {
    return FieldError("validation_fraction",
                      absl::StrCat("is ", training.validation_fraction(), "; must be in [0, 1)"));
  }
  return CheckAtLeast("validation_seed", training.validation_seed(), 0);
}

absl::Status ValidateRegularization(const Regularization& regularization) {
  return CheckNotNegative("weight", regularization.weight());
}

}  // namespace prunelab
