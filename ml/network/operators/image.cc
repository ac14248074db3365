// The images: where a network begins.
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class ImageOperator : public Operator {
 public:
  const char* Name() const override { return "image"; }
  InputRule Inputs() const override { return {0, 0}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const InputOp& image = node.image();
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "channels", image.channels()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "height", image.height()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "width", image.width()));
    return NodeShape{image.channels(), image.height(), image.width(), false};
  }

  ChannelRelation Channels(const NodeView& view) const override { return {ChannelRelation::Kind::kNone}; }
};

PRUNELAB_OPERATOR(Node::kImage, ImageOperator);

}  // namespace
}  // namespace prunelab
