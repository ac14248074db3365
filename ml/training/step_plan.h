// The plans (ml/execution/plan.h) by which a training runs its network.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <string>

#include "ml/execution/plan.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// For what is run in the model's own type: evaluations.
std::unique_ptr<Plan> MakePlan(const Training& config, c10::Device device);

// For training steps, in the precision of the config. (Those of a network that learns to be quantized have a plan with
// a state, which the trainer makes.) `ranks`: the processes that train together.
std::unique_ptr<Plan> MakeStepPlan(const Training& config, c10::Device device, int64_t ranks = 1);

// By which plan steps are computed: "skipping", "fused", "reference" or "quantized".
std::string StepPlanName(const Training& config, c10::Device device, int64_t ranks = 1);

}  // namespace prunelab
