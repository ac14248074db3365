// A ReLU that multiplies what is below 0 by a learned slope.
#include <ATen/ATen.h>

#include "ml/network/operator.h"

namespace prunelab {
namespace {

class PReluOperator : public Operator {
 public:
  const char* Name() const override { return "PReLU"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    return inputs[0];
  }

  std::vector<NodeParameter> Parameters(const NodeView& view) const override {
    const bool shared = view.node.prelu().shared();
    NodeParameter weight = {"weight", {shared ? 1 : view.shape.channels}};
    weight.initial = 0.25;
    weight.is_shared = shared;
    return {weight};
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const at::Tensor& x = inputs[0].values;
    const at::Tensor slope = values("weight").to(at::kDouble).view({-1, 1, 1});
    return {at::where(x.ge(0), x, x * slope), inputs[0].rows, inputs[0].columns};
  }
};

PRUNELAB_OPERATOR(Node::kPrelu, PReluOperator);

}  // namespace
}  // namespace prunelab
