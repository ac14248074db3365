// A factor and an addend for each channel.
#include <ATen/ATen.h>

#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class ChannelScaleOperator : public Operator {
 public:
  const char* Name() const override { return "channel scale"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    if (!node.channel_scale().weight() && !node.channel_scale().bias()) {
      return NodeError(node, "has neither weight nor bias; needs one");
    }
    return inputs[0];
  }

  std::vector<NodeParameter> Parameters(const NodeView& view) const override {
    std::vector<NodeParameter> parameters;
    if (view.node.channel_scale().weight()) {
      parameters.push_back({"weight", {view.shape.channels}});
      parameters.back().initial = view.node.channel_scale().initial_weight();
    }
    if (view.node.channel_scale().bias()) parameters.push_back({"bias", {view.shape.channels}});
    return parameters;
  }

  // A channel whose factor is zero is constant, whatever comes in.
  at::Tensor Passes(const NodeView& view, const NodeValues& values,
                    const std::vector<at::Tensor>& may_differ_from_zero) const override {
    return view.node.channel_scale().weight() ? values("weight").ne(0) : at::Tensor();
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const auto channel = [&](const char* suffix) { return values(suffix).to(at::kDouble).view({-1, 1, 1}); };
    at::Tensor scaled = inputs[0].values;
    if (view.node.channel_scale().weight()) scaled = scaled * channel("weight");
    if (view.node.channel_scale().bias()) scaled = scaled + channel("bias");
    return {scaled, inputs[0].rows, inputs[0].columns};
  }
};

PRUNELAB_OPERATOR(Node::kChannelScale, ChannelScaleOperator);

}  // namespace
}  // namespace prunelab
