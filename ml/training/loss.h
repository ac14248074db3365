// What training minimizes, without the penalty: the mean cross-entropy of a batch, with label smoothing and a teacher
// where the config asks for them.
//
//   TrainingLoss loss(config, teacher, device);
//   const at::Tensor value = loss.Of(logits, batch);
//
// Label smoothing (Szegedy et al. 2016, "Rethinking the inception architecture for computer vision") as PyTorch's
// CrossEntropyLoss(label_smoothing=s): the target is (1 - s) of the label and s / classes of each class. With a teacher
// (distillation.h) it is this smoothed loss that is mixed with what the teacher says.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "ml/data/batches.h"
#include "ml/execution/model.h"
#include "ml/training/distillation.h"
#include "ml/training/training.pb.h"

namespace prunelab {

class TrainingLoss {
 public:
  // `teacher`: if the config has one (checked).
  TrainingLoss(const Training& config, std::optional<Model> teacher, at::Device device);

  // Of `logits` [N, classes] of the batch's images: a scalar, with a gradient. Waits for no device.
  at::Tensor Of(const at::Tensor& logits, const Batch& batch);

 private:
  const double label_smoothing_;
  std::optional<Distillation> distillation_;
};

}  // namespace prunelab
