// The channels of each pixel normalized to mean 0 and variance 1.
#include "ml/base/status_macros.h"
#include "ml/network/operators/norm.h"

namespace prunelab {
namespace {

class LayerNormOperator : public NormOperator {
 public:
  const char* Name() const override { return "layer norm"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    PRUNELAB_RETURN_IF_ERROR(CheckEpsilon(node, node.layer_norm().epsilon()));
    return inputs[0];
  }

  ChannelRelation Channels(const NodeView& view) const override { return {ChannelRelation::Kind::kJoined}; }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const at::Tensor& x = inputs[0].values;
    return Normalized(view, values, inputs[0], x.mean({0}, true), x.var({0}, /*unbiased=*/false, true),
                      view.node.layer_norm().epsilon());
  }

 private:
  bool IsAffine(const Node& node) const override { return node.layer_norm().affine(); }
};

PRUNELAB_OPERATOR(Node::kLayerNorm, LayerNormOperator);

}  // namespace
}  // namespace prunelab
