#include "ml/execution/node_step.h"

#include <memory>
#include <vector>

#include "ml/execution/run_node.h"

namespace prunelab {
namespace {

class NodeStep : public Step {
 public:
  // `overwrite`: the first input's memory may become the output's. `macs`: of the forward pass, for one image.
  NodeStep(int node, std::vector<int> inputs, bool overwrite, int64_t macs)
      : Step(node, std::move(inputs)), overwrite_(overwrite), macs_(macs) {}

  Activation Run(Execution& execution) const override {
    std::vector<at::Tensor> in;
    for (const int i : inputs()) in.push_back(execution.values[i].tensor);
    const bool input_gradient = macs_ > 0 && in[0].requires_grad();
    Activation result;
    result.tensor = RunNode(execution.model, execution.model.info().node(output()), in, execution.options, overwrite_);
    if (in.size() == 1) result.channels = execution.values[inputs()[0]].channels;
    // Forward, and backward to the weight and to the input.
    if (macs_ > 0) execution.macs += macs_ * (1 + result.tensor.requires_grad() + input_gradient);
    return result;
  }

 private:
  const bool overwrite_;
  const int64_t macs_;
};

}  // namespace

void AddNodeStep(PlanBuilder& builder, int i) {
  const NetworkInfo& network = builder.network();
  if (network.node(i).op_case() == Node::kImage) {
    builder.Add(std::make_unique<ImageStep>(i));
  } else {
    const bool overwrite = !network.inputs(i).empty() && builder.depends_on_image(network.inputs(i)[0]) &&
                           MayOverwrite(network, i, builder.structure().capture);
    builder.Add(std::make_unique<NodeStep>(i, network.inputs(i), overwrite, network.MacCount(i)));
  }
}

}  // namespace prunelab
