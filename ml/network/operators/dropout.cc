// Dropout. What the analyses of a network ask is what it does in evaluation, and that is nothing: channels are passed
// on one by one, and constants as they are. Removal keeps the node all the same, since what it returns may be trained.
#include "absl/strings/str_cat.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class DropoutOperator : public Operator {
 public:
  const char* Name() const override { return "dropout"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const double probability = node.dropout().probability();
    if (!(probability >= 0 && probability <= 1)) {
      return NodeError(node, absl::StrCat("probability is ", probability, "; must be from 0 to 1"));
    }
    return inputs[0];
  }

  bool KeepsValues(const Node& node) const override { return true; }
};

PRUNELAB_OPERATOR(Node::kDropout, DropoutOperator);

}  // namespace
}  // namespace prunelab
