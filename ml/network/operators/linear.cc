// A fully connected layer.
#include <ATen/ATen.h>

#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class LinearOperator : public Operator {
 public:
  const char* Name() const override { return "linear"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kFlat}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "out_features", node.linear().out_features()));
    PRUNELAB_RETURN_IF_ERROR(CheckDeviation(node, "initial_deviation", node.linear().initial_deviation()));
    if (node.linear().has_weight_bits()) {
      PRUNELAB_RETURN_IF_ERROR(CheckBits(node, "weight_bits", node.linear().weight_bits()));
    }
    return NodeShape{node.linear().out_features(), 1, 1, true};
  }

  std::vector<NodeParameter> Parameters(const NodeView& view) const override {
    const int64_t features = view.shape.channels;
    std::vector<NodeParameter> parameters = {{"weight", {features, view.inputs[0].channels}}};
    if (view.node.linear().bias()) parameters.push_back({"bias", {features}});
    if (view.node.linear().has_weight_bits()) parameters.push_back(WeightScale(features));
    return parameters;
  }

  std::vector<int64_t> MacFactors(const NodeView& view) const override {
    return {view.inputs[0].channels, view.shape.channels};
  }

  ChannelRelation Channels(const NodeView& view) const override { return {ChannelRelation::Kind::kMixed}; }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const at::Tensor weight = values("weight").to(at::kDouble);
    return PixelPictures(weight.matmul(FullSize(inputs[0]).view({-1, 1})));
  }

  void Narrow(Node& node, const RemainingChannels& remaining) const override {
    node.mutable_linear()->set_out_features(remaining.outputs.sum().item<int64_t>());
  }

  void AddBias(Node& node) const override { node.mutable_linear()->set_bias(true); }
};

PRUNELAB_OPERATOR(Node::kLinear, LinearOperator);

}  // namespace
}  // namespace prunelab
