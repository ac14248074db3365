// Each feature becomes a map of one pixel.
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class UnflattenOperator : public Operator {
 public:
  const char* Name() const override { return "unflatten"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kFlat}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    return NodeShape{inputs[0].channels, 1, 1, false};
  }

  bool KeepsValues(const Node& node) const override { return true; }
};

PRUNELAB_OPERATOR(Node::kUnflatten, UnflattenOperator);

}  // namespace
}  // namespace prunelab
