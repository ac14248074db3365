#include "ml/network/operator.h"

#include <ATen/ATen.h>

#include <map>
#include <utility>

#include "ml/base/check.h"

namespace prunelab {
namespace {

using Kind = ChannelRelation::Kind;

std::map<Node::OpCase, const Operator*>& Registry() {
  static auto* registry = new std::map<Node::OpCase, const Operator*>();
  return *registry;
}

at::Tensor From(const ChannelRelation& relation, size_t k) { return at::tensor(relation.from[k], at::kLong); }

// Marks all channels of each group of which any is marked.
at::Tensor OfWholeGroups(const ChannelRelation& relation, const at::Tensor& flags) {
  return flags.view({relation.groups, -1}).any(1).repeat_interleave(flags.numel() / relation.groups);
}

// The pictures of input k where the outputs have them; zero elsewhere.
ChannelPictures Arranged(const ChannelRelation& relation, size_t k, const ChannelPictures& input) {
  if (relation.kind != Kind::kMapped) return input;
  const at::Tensor from = From(relation, k);
  const at::Tensor values = input.values.index_select(0, from.clamp_min(0)).masked_fill(from.lt(0).view({-1, 1, 1}), 0);
  return {values, input.rows, input.columns};
}

}  // namespace

ChannelPictures Operator::Constants(const NodeView& view, const NodeValues& values,
                                    const std::vector<ChannelPictures>& inputs) const {
  const ChannelRelation relation = Channels(view);
  if (inputs.size() == 1) return Arranged(relation, 0, inputs[0]);
  const NodeShape& shape = view.shape;
  ChannelPictures sum = ZeroPictures(shape.channels, shape.height, shape.width);
  for (size_t k = 0; k < inputs.size(); ++k) {
    sum = SumOf(sum, Arranged(relation, k, inputs[k]), shape.height, shape.width);
  }
  return sum;
}

const Operator* FindOperator(Node::OpCase op) {
  const auto found = Registry().find(op);
  return found == Registry().end() ? nullptr : found->second;
}

bool RegisterOperator(Node::OpCase op, const Operator* implementation) {
  PRUNELAB_CHECK(Registry().emplace(op, implementation).second) << "operator " << op << " is registered twice";
  return true;
}

at::Tensor ToOutputs(const ChannelRelation& relation, size_t k, const at::Tensor& flags) {
  if (relation.kind == Kind::kSame) return flags;
  if (relation.kind == Kind::kJoined) return OfWholeGroups(relation, flags);
  const at::Tensor from = From(relation, k);
  return flags.index_select(0, from.clamp_min(0)) & from.ge(0);
}

at::Tensor ToInputs(const ChannelRelation& relation, size_t k, const at::Tensor& flags, int64_t channels) {
  if (relation.kind == Kind::kSame) return flags;
  if (relation.kind == Kind::kJoined) return OfWholeGroups(relation, flags);
  const at::Tensor from = From(relation, k);
  const at::Tensor which = from.masked_select(flags & from.ge(0));
  return at::zeros({channels}, at::kBool).index_fill(0, which, true);
}

}  // namespace prunelab
