// Knowledge distillation: a network also learns from what another one, its teacher, says of the same images.
//
//   PRUNELAB_RETURN_IF_ERROR(CheckTeacher(config, teacher.info(), network));
//   Distillation distillation(std::move(teacher), config, device);
//   loss = distillation.Mixed(loss, logits, images);
//
// As in Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network": with weight w, temperature T and
// the softmax p_T of logits / T, a batch's loss is (1 - w) loss + w T^2 KL(p_T of the teacher || p_T of the network),
// the mean over its images. T^2 makes up for the gradients, which T divides by as much.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "absl/status/status.h"
#include "ml/execution/model.h"
#include "ml/execution/plan.h"
#include "ml/network/network.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// Whether a network can learn from the teacher that `config` names. Errors, of the field "teacher.checkpoint": images
// of another shape, other classes, no logits, or a quantized network.
absl::Status CheckTeacher(const Training& config, const NetworkInfo& teacher, const NetworkInfo& network);

class Distillation {
 public:
  // `teacher` is on the device, in the type that the network is trained in. It is in evaluation mode, with its masks,
  // and does not change.
  Distillation(Model teacher, const Training& config, at::Device device);

  // The loss of a batch, of which the network's `logits` [N, classes] and the plain mean `loss` are given. The teacher
  // runs on the `images` in IEEE float32 in whatever precision the step is. Waits for no device.
  at::Tensor Mixed(const at::Tensor& loss, const at::Tensor& logits, const at::Tensor& images);

 private:
  Model teacher_;
  const std::unique_ptr<Plan> plan_;
  const double temperature_, weight_;
};

}  // namespace prunelab
