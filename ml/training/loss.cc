#include "ml/training/loss.h"

#include <ATen/ATen.h>

#include <utility>

#include "ml/base/check.h"

namespace prunelab {

TrainingLoss::TrainingLoss(const Training& config, std::optional<Model> teacher, at::Device device)
    : label_smoothing_(config.label_smoothing()) {
  PRUNELAB_CHECK(config.has_teacher() == teacher.has_value()) << "a teacher goes with its place in the config";
  if (teacher) distillation_.emplace(*std::move(teacher), config, device);
}

at::Tensor TrainingLoss::Of(const at::Tensor& logits, const Batch& batch) {
  constexpr int64_t kIgnoredLabel = -100;  // PyTorch's default; no data have it
  const at::Tensor loss =
      at::cross_entropy_loss(logits, batch.labels, /*weight=*/{}, at::Reduction::Mean, kIgnoredLabel, label_smoothing_);
  return distillation_ ? distillation_->Mixed(loss, logits, batch.images) : loss;
}

}  // namespace prunelab
