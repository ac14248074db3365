// The sum of its inputs. Sizes of 1 in height and width are repeated.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class AddOperator : public Operator {
 public:
  const char* Name() const override { return "sum"; }
  InputRule Inputs() const override { return {2, 1000, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    NodeShape out = inputs[0];
    for (const NodeShape& shape : inputs) {
      const bool fits = shape.flat == out.flat && shape.channels == out.channels &&
                        (shape.height == out.height || shape.height == 1 || out.height == 1) &&
                        (shape.width == out.width || shape.width == 1 || out.width == 1);
      if (!fits) {
        return NodeError(node, absl::StrCat("adds shapes that differ: ", Text(inputs[0]), " and ", Text(shape)));
      }
      out.height = std::max(out.height, shape.height);
      out.width = std::max(out.width, shape.width);
    }
    return out;
  }
};

PRUNELAB_OPERATOR(Node::kAdd, AddOperator);

}  // namespace
}  // namespace prunelab
