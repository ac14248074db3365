// What training minimizes, without the penalty: the mean cross-entropy of a batch, with label smoothing where the
// config asks for it.
//
//   const TrainingLoss loss(config);
//   const at::Tensor value = loss.Of(logits, labels);
//
// Label smoothing (Szegedy et al. 2016, "Rethinking the inception architecture for computer vision") as PyTorch's
// CrossEntropyLoss(label_smoothing=s): the target is (1 - s) of the label and s / classes of each class.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/training/training.pb.h"

namespace prunelab {

class TrainingLoss {
 public:
  explicit TrainingLoss(const Training& config) : label_smoothing_(config.label_smoothing()) {}

  // Of `logits` [N, classes] with int64 `labels` [N]: a scalar, with a gradient. Waits for no device.
  at::Tensor Of(const at::Tensor& logits, const at::Tensor& labels) const;

 private:
  const double label_smoothing_;
};

}  // namespace prunelab
