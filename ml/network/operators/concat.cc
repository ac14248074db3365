// The channels of its inputs, one input after the other.
#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class ConcatOperator : public Operator {
 public:
  const char* Name() const override { return "concat"; }
  InputRule Inputs() const override { return {2, 1000, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    NodeShape out = inputs[0];
    out.channels = 0;
    for (const NodeShape& shape : inputs) {
      if (shape.flat != out.flat || shape.height != out.height || shape.width != out.width) {
        return NodeError(node,
                         absl::StrCat("puts together shapes that differ: ", Text(inputs[0]), " and ", Text(shape)));
      }
      out.channels += shape.channels;
    }
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "number of channels", out.channels));
    return out;
  }

  ChannelRelation Channels(const NodeView& view) const override {
    ChannelRelation relation;
    relation.kind = ChannelRelation::Kind::kMapped;
    int64_t first = 0;
    for (const NodeShape& input : view.inputs) {
      std::vector<int64_t>& from = relation.from.emplace_back(view.shape.channels, -1);
      for (int64_t c = 0; c < input.channels; ++c) from[first + c] = c;
      first += input.channels;
    }
    return relation;
  }

  bool PassesOn(const Node& node, int64_t input_channels) const override { return node.input_size() == 1; }
};

PRUNELAB_OPERATOR(Node::kConcat, ConcatOperator);

}  // namespace
}  // namespace prunelab
