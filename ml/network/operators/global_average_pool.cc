// The average over all pixels of each channel.
#include <ATen/ATen.h>

#include "ml/network/operator.h"

namespace prunelab {
namespace {

class GlobalAveragePoolOperator : public Operator {
 public:
  const char* Name() const override { return "global average pool"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    return NodeShape{inputs[0].channels, 1, 1, false};
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    return PixelPictures(FullSize(inputs[0]).mean({1, 2}));
  }
};

PRUNELAB_OPERATOR(Node::kGlobalAveragePool, GlobalAveragePoolOperator);

}  // namespace
}  // namespace prunelab
