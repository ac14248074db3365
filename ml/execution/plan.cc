#include "ml/execution/plan.h"

#include <algorithm>
#include <utility>

#include "ml/execution/node_step.h"

namespace prunelab {
namespace {

// A training has a structure for its steps, one for its evaluations and one for recalibrating BN; masks may change
// their shapes on the way.
constexpr size_t kStructuresKept = 8;

}  // namespace

ForwardResult Plan::Forward(Model& model, const at::Tensor& images, const ForwardOptions& options) {
  PlanStructure structure = PlanStructure::Of(model, images, options);
  const auto found = std::find_if(compiled_.begin(), compiled_.end(),
                                  [&](const CompiledPlan& compiled) { return compiled.structure == structure; });
  if (found != compiled_.end()) {
    compiled_.splice(compiled_.begin(), compiled_, found);
  } else {
    compiled_.push_front(Compile(std::move(structure)));
    if (compiled_.size() > kStructuresKept) compiled_.pop_back();
  }
  return Execute(compiled_.front(), model, images, options);
}

CompiledPlan ReferencePlan::Compile(PlanStructure structure) const {
  PlanBuilder builder(std::move(structure));
  for (int i = 0; i < builder.network().network().node_size(); ++i) AddNodeStep(builder, i);
  return std::move(builder).Build();
}

int64_t DenseTrainingMacs(const NetworkInfo& info) {
  int64_t macs = 0;
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (info.inputs(i).empty()) continue;
    const bool reads_images = info.node(info.inputs(i)[0]).op_case() == Node::kImage;
    macs += (reads_images ? 2 : 3) * info.MacCount(i);
  }
  return macs;
}

}  // namespace prunelab
