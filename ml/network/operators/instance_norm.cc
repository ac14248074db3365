// The pixels of each channel normalized to mean 0 and variance 1.
#include "ml/base/status_macros.h"
#include "ml/network/operators/norm.h"

namespace prunelab {
namespace {

class InstanceNormOperator : public NormOperator {
 public:
  const char* Name() const override { return "instance norm"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    PRUNELAB_RETURN_IF_ERROR(CheckEpsilon(node, node.instance_norm().epsilon()));
    if (inputs[0].height * inputs[0].width == 1)
      return NodeError(node, "has one pixel a channel, of which there is no variance");
    return inputs[0];
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const at::Tensor all = FullSize(inputs[0]);
    return Normalized(view, values, inputs[0], all.mean({1, 2}, true), all.var({1, 2}, /*unbiased=*/false, true),
                      view.node.instance_norm().epsilon());
  }

 private:
  bool IsAffine(const Node& node) const override { return node.instance_norm().affine(); }
};

PRUNELAB_OPERATOR(Node::kInstanceNorm, InstanceNormOperator);

}  // namespace
}  // namespace prunelab
