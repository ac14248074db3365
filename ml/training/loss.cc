#include "ml/training/loss.h"

#include <ATen/ATen.h>

namespace prunelab {

at::Tensor TrainingLoss::Of(const at::Tensor& logits, const at::Tensor& labels) const {
  constexpr int64_t kIgnoredLabel = -100;  // PyTorch's default; no data have it
  return at::cross_entropy_loss(logits, labels, /*weight=*/{}, at::Reduction::Mean, kIgnoredLabel, label_smoothing_);
}

}  // namespace prunelab
