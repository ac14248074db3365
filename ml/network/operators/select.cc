// Chosen channels of its input, in any order, some perhaps more than once.
#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class SelectOperator : public Operator {
 public:
  const char* Name() const override { return "select"; }
  InputRule Inputs() const override { return {1, 1, InputRule::Layout::kAny}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "number of indices", node.select().index_size()));
    for (const int64_t index : node.select().index()) {
      if (index < 0 || index >= inputs[0].channels) {
        return NodeError(node,
                         absl::StrCat("index ", index, " is out of range; must be from 0 to ", inputs[0].channels - 1));
      }
    }
    NodeShape out = inputs[0];
    out.channels = node.select().index_size();
    return out;
  }

  ChannelRelation Channels(const NodeView& view) const override {
    ChannelRelation relation;
    relation.kind = ChannelRelation::Kind::kMapped;
    relation.from.emplace_back(view.node.select().index().begin(), view.node.select().index().end());
    relation.picks = {true};
    return relation;
  }

  void Narrow(Node& node, const RemainingChannels& remaining) const override {
    const std::vector<int64_t> index(node.select().index().begin(), node.select().index().end());
    const at::Tensor place = remaining.inputs[0].to(at::kLong).cumsum(0) - 1;  // old channel -> new
    node.mutable_select()->clear_index();
    for (size_t k = 0; k < index.size(); ++k) {
      if (remaining.outputs[k].item<bool>()) node.mutable_select()->add_index(place[index[k]].item<int64_t>());
    }
  }

  bool PassesOn(const Node& node, int64_t input_channels) const override {
    bool is_identity = node.select().index_size() == input_channels;
    for (int k = 0; k < node.select().index_size(); ++k) is_identity = is_identity && node.select().index(k) == k;
    return is_identity;
  }

  bool KeepsValues(const Node& node) const override { return true; }
};

PRUNELAB_OPERATOR(Node::kSelect, SelectOperator);

}  // namespace
}  // namespace prunelab
