// Rounds to the numbers of a grid.
#include "ml/network/fake_quantize.h"

#include <ATen/ATen.h>

#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class FakeQuantizeOperator : public Operator {
 public:
  const char* Name() const override { return "quantize"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    PRUNELAB_RETURN_IF_ERROR(CheckBits(node, "bits", node.fake_quantize().bits()));
    return inputs[0];
  }

  std::vector<NodeParameter> Parameters(const NodeView& view) const override {
    NodeParameter scale = {"scale", {}, /*is_buffer=*/true}, zero_point = {"zero_point", {}, /*is_buffer=*/true};
    scale.initial = 1;
    scale.allowed = Allowed::kPositive;
    zero_point.allowed = Allowed::kByte;
    return {scale, zero_point};
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const at::Tensor rounded = ApplyFakeQuantize(view.node.fake_quantize(), inputs[0].values,
                                                 values("scale").to(at::kDouble), values("zero_point").to(at::kDouble));
    return {rounded, inputs[0].rows, inputs[0].columns};
  }
};

PRUNELAB_OPERATOR(Node::kFakeQuantize, FakeQuantizeOperator);

}  // namespace
}  // namespace prunelab
