// Puts channels into places of a wider stream.
#include <ATen/ATen.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class ScatterOperator : public Operator {
 public:
  const char* Name() const override { return "scatter"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const Scatter& scatter = node.scatter();
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "channels", scatter.channels()));
    if (scatter.index_size() != inputs[0].channels) {
      return NodeError(
          node, absl::StrCat("has ", scatter.index_size(), " indices for ", inputs[0].channels, " input channels"));
    }
    std::set<int64_t> seen;
    for (const int64_t index : scatter.index()) {
      if (index < 0 || index >= scatter.channels() || !seen.insert(index).second) {
        return NodeError(
            node, absl::StrCat("index ", index, " is out of range or repeated; indices must differ and be below ",
                               scatter.channels()));
      }
    }
    NodeShape out = inputs[0];
    out.channels = scatter.channels();
    return out;
  }

  ChannelRelation Channels(const NodeView& view) const override {
    ChannelRelation relation;
    relation.kind = ChannelRelation::Kind::kMapped;
    relation.from.emplace_back(view.shape.channels, -1);
    const Scatter& scatter = view.node.scatter();
    for (int k = 0; k < scatter.index_size(); ++k) relation.from[0][scatter.index(k)] = k;
    return relation;
  }

  void Narrow(Node& node, const RemainingChannels& remaining) const override {
    const std::vector<int64_t> index(node.scatter().index().begin(), node.scatter().index().end());
    const at::Tensor place = remaining.outputs.to(at::kLong).cumsum(0) - 1;  // old channel -> new
    Scatter* scatter = node.mutable_scatter();
    scatter->set_channels(remaining.outputs.sum().item<int64_t>());
    scatter->clear_index();
    for (size_t k = 0; k < index.size(); ++k) {
      if (remaining.inputs[0][k].item<bool>()) scatter->add_index(place[index[k]].item<int64_t>());
    }
  }

  bool PassesOn(const Node& node, int64_t input_channels) const override {
    const Scatter& scatter = node.scatter();
    bool same_order = scatter.index_size() == scatter.channels();
    for (int k = 0; k < scatter.index_size(); ++k) same_order = same_order && scatter.index(k) == k;
    return same_order;
  }

  bool KeepsValues(const Node& node) const override { return true; }
};

PRUNELAB_OPERATOR(Node::kScatter, ScatterOperator);

}  // namespace
}  // namespace prunelab
