#include "ml/training/step_plan.h"

#include "ml/execution/bfloat16_plan.h"
#include "ml/execution/fused_plan.h"
#include "ml/execution/skipping_plan.h"

namespace prunelab {

std::unique_ptr<Plan> MakePlan(const Training& config, c10::Device device) {
  if (!config.skipping()) return std::make_unique<ReferencePlan>();
  if (device.is_cuda()) return std::make_unique<FusedPlan>();
  return std::make_unique<SkippingPlan>();
}

std::unique_ptr<Plan> MakeStepPlan(const Training& config, c10::Device device, int64_t ranks) {
  if (ranks > 1 && config.synchronized_batch_norm()) return std::make_unique<ReferencePlan>();
  if (config.precision() == Training::BFLOAT16) return std::make_unique<Bfloat16Plan>();
  return MakePlan(config, device);
}

std::string StepPlanName(const Training& config, c10::Device device, int64_t ranks) {
  if (ranks > 1 && config.synchronized_batch_norm()) return "reference";
  if (config.has_quantization()) return "quantized";
  if (!config.skipping() || config.precision() == Training::BFLOAT16) return "reference";
  return device.is_cuda() ? "fused" : "skipping";
}

}  // namespace prunelab
