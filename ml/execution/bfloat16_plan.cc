#include "ml/execution/bfloat16_plan.h"

#include <utility>

#include "ml/base/check.h"

namespace prunelab {

CompiledPlan Bfloat16Plan::Compile(PlanStructure structure) const {
  PRUNELAB_CHECK(structure.dtype == at::kFloat) << "a model of " << c10::toString(structure.dtype);
  CompiledPlan plan = ReferencePlan().Compile(std::move(structure));
  plan.bfloat16 = true;
  return plan;
}

}  // namespace prunelab
