#include <ATen/ATen.h>

#include "ml/network/operator.h"

namespace prunelab {
namespace {

class ReluOperator : public Operator {
 public:
  const char* Name() const override { return "ReLU"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    return inputs[0];
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    return {inputs[0].values.clamp_min(0), inputs[0].rows, inputs[0].columns};
  }

  bool KeepsValues(const Node& node) const override { return true; }
};

PRUNELAB_OPERATOR(Node::kRelu, ReluOperator);

}  // namespace
}  // namespace prunelab
