// Product, difference or quotient of two inputs; sizes of 1 are repeated.
#include "ml/network/arithmetic.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

bool Fits(int64_t a, int64_t b) { return a == b || a == 1 || b == 1; }

class ArithmeticOperator : public Operator {
 public:
  const char* Name() const override { return "arithmetic"; }
  InputRule Inputs() const override { return {2, 2, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    if (node.arithmetic().function() == Arithmetic::UNSET) {
      return NodeError(node, "function is unset; must be MULTIPLY, SUBTRACT or DIVIDE");
    }
    const NodeShape &a = inputs[0], &b = inputs[1];
    if (a.flat != b.flat || !Fits(a.channels, b.channels) || !Fits(a.height, b.height) || !Fits(a.width, b.width)) {
      return NodeError(node, absl::StrCat("cannot combine ", Text(a), " and ", Text(b),
                                          "; each size must be equal, or 1 in one of them"));
    }
    return NodeShape{std::max(a.channels, b.channels), std::max(a.height, b.height), std::max(a.width, b.width),
                     a.flat};
  }

  ChannelRelation Channels(const NodeView& view) const override {
    ChannelRelation relation;
    if (view.inputs[0].channels == view.inputs[1].channels) return relation;
    relation.kind = ChannelRelation::Kind::kMapped;
    for (const NodeShape& input : view.inputs) {
      std::vector<int64_t>& from = relation.from.emplace_back(view.shape.channels, 0);
      if (input.channels > 1) {
        for (int64_t c = 0; c < input.channels; ++c) from[c] = c;
      }
      relation.picks.push_back(input.channels == 1);
    }
    return relation;
  }

  // A product with zero is zero. (So is a quotient of zero, unless what it is divided by, which then nobody needs, were
  // zero too.)
  at::Tensor Passes(const NodeView& view, const NodeValues& values,
                    const std::vector<at::Tensor>& may_differ_from_zero) const override {
    if (view.node.arithmetic().function() != Arithmetic::MULTIPLY) return {};
    const ChannelRelation relation = Channels(view);
    return ToOutputs(relation, 0, may_differ_from_zero[0]) & ToOutputs(relation, 1, may_differ_from_zero[1]);
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    return Combined(
        inputs[0], inputs[1], view.shape.height, view.shape.width,
        [&](const at::Tensor& a, const at::Tensor& b) { return ApplyArithmetic(view.node.arithmetic(), a, b); });
  }
};

PRUNELAB_OPERATOR(Node::kArithmetic, ArithmeticOperator);

}  // namespace
}  // namespace prunelab
