// A function of each number by itself.
#include "ml/network/elementwise.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

std::string FunctionNames() {
  std::string names;
  for (int f = Elementwise::Function_MIN + 1; f <= Elementwise::Function_MAX; ++f) {
    absl::StrAppend(&names, names.empty() ? "" : ", ",
                    Elementwise::Function_Name(static_cast<Elementwise::Function>(f)));
  }
  return names;
}

class ElementwiseOperator : public Operator {
 public:
  const char* Name() const override { return "elementwise"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const Elementwise& elementwise = node.elementwise();
    if (elementwise.function() == Elementwise::UNSET) {
      return NodeError(node, absl::StrCat("function is unset; must be one of ", FunctionNames()));
    }
    const double low = elementwise.low(), high = elementwise.high();
    if (elementwise.function() == Elementwise::CLIP && !(low < high)) {
      return NodeError(node, absl::StrCat("clips between low ", low, " and high ", high, "; low must be below high"));
    }
    if (elementwise.function() == Elementwise::LEAKY_RELU && !std::isfinite(elementwise.slope())) {
      return NodeError(node, absl::StrCat("slope is ", elementwise.slope(), "; must be finite"));
    }
    return inputs[0];
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    return {ApplyElementwise(view.node.elementwise(), inputs[0].values), inputs[0].rows, inputs[0].columns};
  }
};

PRUNELAB_OPERATOR(Node::kElementwise, ElementwiseOperator);

}  // namespace
}  // namespace prunelab
