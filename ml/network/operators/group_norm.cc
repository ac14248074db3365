// Groups of channels, all their pixels together, normalized to mean 0 and variance 1.
#include "ml/base/status_macros.h"
#include "ml/network/operators/norm.h"

namespace prunelab {
namespace {

class GroupNormOperator : public NormOperator {
 public:
  const char* Name() const override { return "group norm"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const GroupNorm& norm = node.group_norm();
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "groups", norm.groups()));
    PRUNELAB_RETURN_IF_ERROR(CheckEpsilon(node, norm.epsilon()));
    if (inputs[0].channels % norm.groups() != 0) {
      return NodeError(
          node, absl::StrCat("groups ", norm.groups(), " must divide the ", inputs[0].channels, " input channels"));
    }
    return inputs[0];
  }

  ChannelRelation Channels(const NodeView& view) const override {
    ChannelRelation relation;
    relation.kind = ChannelRelation::Kind::kJoined;
    relation.groups = view.node.group_norm().groups();
    return relation;
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const int64_t groups = view.node.group_norm().groups(), members = view.shape.channels / groups;
    const at::Tensor all = FullSize(inputs[0]).reshape({groups, -1});
    const auto by_channel = [&](const at::Tensor& x) { return x.repeat_interleave(members).view({-1, 1, 1}); };
    return Normalized(view, values, inputs[0], by_channel(all.mean({1})), by_channel(all.var({1}, /*unbiased=*/false)),
                      view.node.group_norm().epsilon());
  }

  void Narrow(Node& node, const RemainingChannels& remaining) const override {
    const at::Tensor groups = remaining.outputs.view({node.group_norm().groups(), -1}).any(1);
    node.mutable_group_norm()->set_groups(groups.sum().item<int64_t>());
  }

 private:
  bool IsAffine(const Node& node) const override { return node.group_norm().affine(); }
};

PRUNELAB_OPERATOR(Node::kGroupNorm, GroupNormOperator);

}  // namespace
}  // namespace prunelab
