#include "ml/training/distillation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/execution/device_arithmetic.h"
#include "ml/network/value_grids.h"
#include "ml/training/step_plan.h"

namespace prunelab {
namespace {

std::string ImageText(const NodeShape& shape) {
  return absl::StrCat(shape.channels, "x", shape.height, "x", shape.width);
}

}  // namespace

absl::Status CheckTeacher(const Training& config, const NetworkInfo& teacher, const NetworkInfo& network) {
  const auto refuse = [&](absl::string_view text) {
    return FieldError("teacher.checkpoint", absl::StrCat(config.teacher().checkpoint(), ": ", text));
  };
  if (IsQuantized(teacher.network())) {
    return refuse("its network is quantized; give the network from which //tools:quantize made it");
  }
  const NodeShape &its = teacher.input_shape(), &own = network.input_shape();
  if (its.channels != own.channels || its.height != own.height || its.width != own.width) {
    return refuse(absl::StrCat("its network takes images of ", ImageText(its), ", but the network that learns takes ",
                               ImageText(own), " (channels, height, width); give a teacher for the same images"));
  }
  if (const absl::Status logits = teacher.CheckLogits(); !logits.ok()) return refuse(logits.message());
  if (teacher.classes() != network.classes()) {
    return refuse(absl::StrCat("its network has ", teacher.classes(), " classes, but the network that learns has ",
                               network.classes(), "; give a teacher for the same classes"));
  }
  return absl::OkStatus();
}

Distillation::Distillation(Model teacher, const Training& config, at::Device device)
    : teacher_(std::move(teacher)),
      plan_(MakePlan(config, device)),
      temperature_(config.teacher().temperature()),
      weight_(config.teacher().weight()) {}

at::Tensor Distillation::Mixed(const at::Tensor& loss, const at::Tensor& logits, const at::Tensor& images) {
  at::Tensor wanted;
  {
    const at::NoGradGuard no_gradients;
    const DeviceArithmetic arithmetic(DeviceArithmetic::Float32::kIeee);
    ForwardOptions options;
    options.mode = Mode::kEvaluate;
    wanted = at::log_softmax(plan_->Forward(teacher_, images, options).logits / temperature_, 1);
  }
  const at::Tensor own = at::log_softmax(logits / temperature_, 1);
  const at::Tensor divergence = at::kl_div(own, wanted, at::Reduction::Sum, /*log_target=*/true) / logits.size(0);
  return (1 - weight_) * loss + weight_ * temperature_ * temperature_ * divergence;
}

}  // namespace prunelab
