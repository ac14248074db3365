// Each pixel of each channel becomes a feature, channel by channel.
#include <ATen/ATen.h>

#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class FlattenOperator : public Operator {
 public:
  const char* Name() const override { return "flatten"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const NodeShape out = {inputs[0].channels * inputs[0].height * inputs[0].width, 1, 1, true};
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "number of features", out.channels));
    return out;
  }

  ChannelRelation Channels(const NodeView& view) const override {
    ChannelRelation relation;
    relation.kind = ChannelRelation::Kind::kMapped;
    relation.from.resize(1);
    const int64_t pixels = view.inputs[0].height * view.inputs[0].width;
    for (int64_t c = 0; c < view.shape.channels; ++c) relation.from[0].push_back(c / pixels);
    return relation;
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    return PixelPictures(FullSize(inputs[0]).flatten());
  }

  bool KeepsValues(const Node& node) const override { return true; }
};

PRUNELAB_OPERATOR(Node::kFlatten, FlattenOperator);

}  // namespace
}  // namespace prunelab
