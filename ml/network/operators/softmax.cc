// The channels of each pixel as shares of one, by their exponentials.
#include <ATen/ATen.h>

#include "ml/network/operator.h"

namespace prunelab {
namespace {

class SoftmaxOperator : public Operator {
 public:
  const char* Name() const override { return "softmax"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    return inputs[0];
  }

  ChannelRelation Channels(const NodeView& view) const override { return {ChannelRelation::Kind::kJoined}; }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    return {at::softmax(inputs[0].values, 0), inputs[0].rows, inputs[0].columns};
  }
};

PRUNELAB_OPERATOR(Node::kSoftmax, SoftmaxOperator);

}  // namespace
}  // namespace prunelab
