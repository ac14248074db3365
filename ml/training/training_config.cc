#include "ml/training/training_config.h"

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/network/one_pixel_batch_norm.h"

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

absl::Status CheckCrop(const Training::RandomResizedCrop& crop) {
  PRUNELAB_RETURN_IF_ERROR(CheckPositive("least_area", crop.least_area()));
  if (!(crop.most_area() >= crop.least_area() && crop.most_area() <= 1)) {
    return FieldError("most_area", absl::StrCat("is ", crop.most_area(), "; must be from least_area, which is ",
                                                crop.least_area(), ", to 1"));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckPositive("least_ratio", crop.least_ratio()));
  PRUNELAB_RETURN_IF_ERROR(CheckPositive("most_ratio", crop.most_ratio()));
  if (crop.most_ratio() < crop.least_ratio()) {
    return FieldError("most_ratio", absl::StrCat("is ", crop.most_ratio(), "; must be at least least_ratio, which is ",
                                                 crop.least_ratio()));
  }
  return absl::OkStatus();
}

absl::Status CheckJitter(const Training::ColorJitter& jitter) {
  for (const auto& [field, value] :
       {std::pair("brightness", jitter.brightness()), std::pair("contrast", jitter.contrast()),
        std::pair("saturation", jitter.saturation())}) {
    if (!(value >= 0 && value <= 100)) {
      return FieldError(field, absl::StrCat("is ", value, "; must be from 0 to 100"));
    }
  }
  if (jitter.hue() >= 0 && jitter.hue() <= 0.5) return absl::OkStatus();
  return FieldError("hue", absl::StrCat("is ", jitter.hue(), "; must be from 0 to 0.5, half the circle"));
}

// In [0, 1).
absl::Status CheckBelowOne(absl::string_view field, double value) {
  if (value >= 0 && value < 1) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be in [0, 1)"));
}

absl::Status ValidateSgd(const Sgd& sgd) {
  PRUNELAB_RETURN_IF_ERROR(CheckPositive("learning_rate", sgd.learning_rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckBelowOne("momentum", sgd.momentum()));
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

absl::Status ValidateAdamW(const AdamW& adamw) {
  PRUNELAB_RETURN_IF_ERROR(CheckPositive("learning_rate", adamw.learning_rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckBelowOne("beta1", adamw.beta1()));
  PRUNELAB_RETURN_IF_ERROR(CheckBelowOne("beta2", adamw.beta2()));
  if (!(adamw.epsilon() >= 1e-30 && std::isfinite(adamw.epsilon()))) {
    return FieldError("epsilon", absl::StrCat("is ", adamw.epsilon(), "; must be a finite number, at least 1e-30"));
  }
  return CheckNotNegative("weight_decay", adamw.weight_decay());
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

absl::Status ValidateQuantization(const Training& training) {
  const Quantization& quantization = training.quantization();
  for (const auto& [field, bits] : {std::pair("quantization.weight_bits", quantization.weight_bits()),
                                    std::pair("quantization.activation_bits", quantization.activation_bits())}) {
    if (bits < 2 || bits > 8) return FieldError(field, absl::StrCat("is ", bits, "; must be from 2 to 8"));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("quantization.start_epoch", quantization.start_epoch(), 0));
  const double momentum = quantization.range_momentum();
  if (!(momentum > 0 && momentum <= 1)) {
    return FieldError("quantization.range_momentum", absl::StrCat("is ", momentum, "; must be above 0 and at most 1"));
  }
  if (training.precision() != Training::FLOAT32) {
    return FieldError("quantization", absl::StrCat("goes with precision FLOAT32, not ",
                                                   Training::Precision_Name(training.precision())));
  }
  if (training.has_weight_average()) {
    return FieldError("quantization",
                      "does not go with weight_average: the rounding is learnt for the weights of the steps, not for "
                      "their average");
  }
  if (training.bn_recalibration_batches() > 0) {
    return FieldError("quantization",
                      "does not go with bn_recalibration_batches: the rounding of weights depends on BatchNorm's "
                      "statistics, and was learnt with those of training");
  }
  return absl::OkStatus();
}

absl::Status ValidateTeacher(const Teacher& teacher) {
  if (teacher.checkpoint().empty()) {
    return FieldError("checkpoint", "is not set; name the teacher's file, e.g. checkpoint: \"last.safetensors\"");
  }
  PRUNELAB_RETURN_IF_ERROR(CheckPositive("temperature", teacher.temperature()));
  if (teacher.weight() >= 0 && teacher.weight() <= 1) return absl::OkStatus();
  return FieldError("weight", absl::StrCat("is ", teacher.weight(), "; must be in [0, 1]"));
}

std::string ImagesText(const Training& training, int64_t images) {
  return absl::StrCat(images, images == 1 ? " training image" : " training images",
                      training.validation_fraction() > 0 ? " beside the validation data" : "");
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
  PRUNELAB_RETURN_IF_ERROR(InField("adamw", ValidateAdamW(training.adamw())));
  PRUNELAB_RETURN_IF_ERROR(InField("schedule", ValidateSchedule(training.schedule(), training.epochs())));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("random_crop_padding", training.random_crop_padding(), 0));
  if (training.has_random_resized_crop()) {
    PRUNELAB_RETURN_IF_ERROR(InField("random_resized_crop", CheckCrop(training.random_resized_crop())));
    if (training.random_crop_padding() > 0) {
      return FieldError("random_resized_crop",
                        absl::StrCat("is set, and random_crop_padding is ", training.random_crop_padding(),
                                     "; an image is cropped one way or the other, so leave one of them out"));
    }
  }
  PRUNELAB_RETURN_IF_ERROR(InField("color_jitter", CheckJitter(training.color_jitter())));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("bn_recalibration_batches", training.bn_recalibration_batches(), 0));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("checkpoint_every", training.checkpoint_every(), 0));
  PRUNELAB_RETURN_IF_ERROR(CheckPositive("checkpoint_minutes", training.checkpoint_minutes()));
  PRUNELAB_RETURN_IF_ERROR(CheckBelowOne("validation_fraction", training.validation_fraction()));
  PRUNELAB_RETURN_IF_ERROR(CheckBelowOne("label_smoothing", training.label_smoothing()));
  PRUNELAB_RETURN_IF_ERROR(CheckNotNegative("clip_gradient_norm", training.clip_gradient_norm()));
  PRUNELAB_RETURN_IF_ERROR(CheckBelowOne("weight_average.decay", training.weight_average().decay()));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("accumulate_batches", training.accumulate_batches(), 1));
  if (training.has_teacher()) PRUNELAB_RETURN_IF_ERROR(InField("teacher", ValidateTeacher(training.teacher())));
  if (training.has_quantization()) PRUNELAB_RETURN_IF_ERROR(ValidateQuantization(training));
  if (!training.test_data() && training.validation_fraction() == 0) {
    return FieldError("test_data",
                      "is false, and no images are set aside for validation, so that nothing would be "
                      "evaluated; give a validation_fraction, e.g. 0.1");
  }
  return CheckAtLeast("validation_seed", training.validation_seed(), 0);
}

absl::Status CheckBatchSize(const Training& training, int64_t images) {
  if (training.batch_size() <= images) return absl::OkStatus();
  return FieldError("batch_size", absl::StrCat("is ", training.batch_size(), ", but the data set has ",
                                               ImagesText(training, images), "; must be at most as many"));
}

namespace {

// The sizes from `least` to `most` nearest below and above `size` that work, as far as there are any.
std::vector<int64_t> NearestSizes(int64_t size, int64_t least, int64_t most,
                                  const std::function<bool(int64_t)>& works) {
  std::vector<int64_t> nearest;
  for (int64_t below = size - 1; below >= least && nearest.empty(); --below) {
    if (works(below)) nearest.push_back(below);
  }
  for (int64_t above = size + 1; above <= most; ++above) {
    if (!works(above)) continue;
    nearest.push_back(above);
    break;
  }
  return nearest;
}

}  // namespace

absl::Status CheckLastBatch(const Training& training, const NetworkInfo& network, int64_t images) {
  const int64_t batch_size = training.batch_size();
  const auto leaves_one = [images](int64_t size) { return size == 1 || images % size == 1; };
  if (!leaves_one(batch_size)) return absl::OkStatus();
  const std::string batch_norm = OnePixelBatchNorm(network);
  if (batch_norm.empty()) return absl::OkStatus();
  const std::vector<int64_t> works =
      NearestSizes(batch_size, /*least=*/2, images, [&](int64_t size) { return !leaves_one(size); });
  return FieldError("batch_size",
                    absl::StrCat("is ", batch_size, ", which leaves a single one of ", ImagesText(training, images),
                                 " for an epoch's last batch; the batch norm \"", batch_norm,
                                 "\" has maps of 1x1 pixel and needs more than one value a channel; ",
                                 works.empty() ? "use more training images"
                                               : absl::StrCat("use a batch_size of ", absl::StrJoin(works, " or ")),
                                 ", or larger images"));
}

absl::Status CheckRanks(const Training& training, const NetworkInfo& network, int64_t images, int64_t ranks) {
  if (ranks == 1) return absl::OkStatus();
  if (training.synchronized_batch_norm() && training.precision() == Training::BFLOAT16) {
    return FieldError("synchronized_batch_norm", "is not there in bfloat16; use FLOAT32, or leave it out");
  }
  if (training.synchronized_batch_norm() && training.has_quantization()) {
    return FieldError("synchronized_batch_norm", "is not there with quantization; leave one of them out");
  }
  const std::string batch_norm = training.synchronized_batch_norm() ? "" : OnePixelBatchNorm(network);
  const int64_t needed = batch_norm.empty() ? ranks : 2 * ranks;  // of each batch
  const auto last = [images](int64_t size) { return images % size == 0 ? size : images % size; };
  const auto works = [&](int64_t size) { return std::min(size, last(size)) >= needed; };
  const int64_t batch_size = training.batch_size();
  if (works(batch_size)) return absl::OkStatus();
  const std::vector<int64_t> others = NearestSizes(batch_size, needed, images, works);
  return FieldError(
      "batch_size",
      absl::StrCat(
          "is ", batch_size, ", which makes batches of down to ", std::min(batch_size, last(batch_size)), " of ",
          ImagesText(training, images), "; ", ranks, " ranks need at least ", needed,
          batch_norm.empty() ? "" : absl::StrCat(", because the batch norm \"", batch_norm, "\" has maps of 1x1 pixel"),
          others.empty() ? "" : absl::StrCat("; use a batch_size of ", absl::StrJoin(others, " or ")),
          ", or fewer ranks"));
}

absl::Status ValidateRegularization(const Regularization& regularization) {
  PRUNELAB_RETURN_IF_ERROR(CheckNotNegative("weight", regularization.weight()));
  if (!regularization.has_growth()) return absl::OkStatus();
  const WeightGrowth& growth = regularization.growth();
  if (growth.period() < 1) {
    return FieldError("growth.period", absl::StrCat("is ", growth.period(), "; must be at least 1"));
  }
  if (!growth.has_until()) return FieldError("growth.until", "is not set; say how large the weight becomes");
  if (!(growth.until() >= regularization.weight() && std::isfinite(growth.until()))) {
    return FieldError("growth.until", absl::StrCat("is ", growth.until(), "; must be at least the weight, which is ",
                                                   regularization.weight(), ", and finite"));
  }
  if (regularization.weight() == 0) return FieldError("growth", "is set, and multiples of a weight of 0 are 0");
  return absl::OkStatus();
}

}  // namespace prunelab
