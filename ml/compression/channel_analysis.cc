#include "ml/compression/channel_analysis.h"

#include <ATen/ATen.h>

#include <utility>

namespace prunelab {
namespace {

using Kind = ChannelRelation::Kind;

bool Any(const at::Tensor& flags) { return flags.any().item<bool>(); }

}  // namespace

class ChannelAnalysis::Builder {
 public:
  Builder(const WeightedNetwork& network, ChannelAnalysis& analysis) : network_(network), a_(analysis) {}

  void Forward(int i) {
    const NodeView view = a_.info.View(i);
    a_.relations[i] = a_.info.op(i).Channels(view);
    if (i == a_.info.image()) {
      a_.live[i] = at::ones({view.shape.channels}, at::kBool);
      a_.constants[i] = ZeroPictures(view.shape.channels, view.shape.height, view.shape.width);
      return;
    }
    if (a_.relations[i].kind == Kind::kMixed) {
      ForwardMixed(i, view);
    } else {
      ForwardArranged(i, view);
    }
    a_.constants[i].values = a_.constants[i].values.masked_fill(a_.live[i].view({-1, 1, 1}), 0);
  }

  void Backward(int i) {
    const std::vector<int>& inputs = a_.info.inputs(i);
    // A quotient may be computed for a channel that nobody needs, where its divisor has that channel for others, or all
    // keep a width. If what that divisor is made of were gone, it would divide by zero, and a reader's weights of zero
    // would make NaN of it.
    const Node& node = a_.info.node(i);
    if (node.op_case() == Node::kArithmetic && node.arithmetic().function() == Arithmetic::DIVIDE && a_.AnyKept(i)) {
      a_.needed[i] = a_.needed[i] | a_.live[i];
    }
    for (size_t k = 0; k < inputs.size(); ++k) {
      a_.needed[inputs[k]] = a_.needed[inputs[k]] | a_.ReadFrom(i, k, a_.needed[i] & a_.live[i]);
    }
  }

  void FollowStreams(int i) {
    const ChannelRelation& relation = a_.relations[i];
    const std::vector<int>& inputs = a_.info.inputs(i);
    at::Tensor& stream = a_.stream[i];
    if (i == a_.info.image() || a_.IsResidualSum(i)) {
      stream = at::ones_like(a_.live[i]);
    } else if (relation.kind != Kind::kNone && relation.kind != Kind::kMixed) {
      at::Tensor sourceless = at::ones_like(a_.live[i]);
      for (size_t k = 0; k < inputs.size(); ++k) {
        sourceless = sourceless & ToOutputs(relation, k, at::ones_like(a_.live[inputs[k]])).logical_not();
        if (inputs.size() > 1 && !a_.Contributes(i, k)) continue;
        stream = stream | ToOutputs(relation, k, a_.stream[inputs[k]]);
      }
      // Channels that are made of nothing fill up a stream.
      stream = stream | (sourceless & stream.any());
    }
    a_.starts_stream[i] = !stream.all().item<bool>() && FeedsResidualSum(i);
    if (a_.starts_stream[i]) stream = at::ones_like(stream);
    a_.carries_stream[i] = stream.all().item<bool>();
  }

 private:
  NodeValues ValuesOf(int i) const {
    return [this, i](const char* suffix) { return network_.Get(a_.info.node(i).name(), suffix); };
  }

  // Whether the node has both a residual sum and other consumers.
  bool FeedsResidualSum(int i) const {
    int users = 0;
    bool feeds = false;
    for (const int user : a_.info.users(i)) {
      users += a_.AnyKept(user);
      feeds = feeds || a_.IsResidualSum(user);
    }
    return users >= 2 && feeds;
  }

  // Channels that are made of single ones, or of none.
  void ForwardArranged(int i, const NodeView& view) {
    const std::vector<int>& inputs = a_.info.inputs(i);
    at::Tensor live = at::zeros({view.shape.channels}, at::kBool);
    std::vector<ChannelPictures> pictures;
    std::vector<at::Tensor> may_differ_from_zero;
    for (size_t k = 0; k < inputs.size(); ++k) {
      live = live | ToOutputs(a_.relations[i], k, a_.live[inputs[k]]);
      pictures.push_back(a_.constants[inputs[k]]);
      may_differ_from_zero.push_back(a_.live[inputs[k]] | pictures[k].values.flatten(1).ne(0).any(1));
    }
    a_.passes_[i] = a_.info.op(i).Passes(view, ValuesOf(i), may_differ_from_zero);
    a_.live[i] = a_.passes_[i].defined() ? live & a_.passes_[i] : live;
    a_.constants[i] = a_.info.op(i).Constants(view, ValuesOf(i), pictures);
  }

  // Channels that are weighted sums.
  void ForwardMixed(int i, const NodeView& view) {
    const std::string& name = view.node.name();
    const int input = a_.info.inputs(i)[0];
    const int64_t groups = a_.relations[i].groups;
    const at::Tensor weight = a_.info.op(i).ByOutput(network_.Get(name, "weight"), groups);
    const at::Tensor pairs = weight.ne(0)
                                 .flatten(1)
                                 .view({weight.size(0), weight.size(1), -1})
                                 .any(2)
                                 .view({groups, weight.size(0) / groups, weight.size(1)});
    a_.pairs_[i] = pairs;
    a_.live[i] = (pairs & a_.live[input].view({groups, 1, -1})).any(2).view(-1);
    a_.reached[i] = Reached(i, view, weight);
    a_.constants[i] = a_.reached[i];
    if (network_.Has(name, "bias")) {
      const at::Tensor bias = network_.Get(name, "bias").to(at::kDouble).view({-1, 1, 1});
      a_.constants[i].values = a_.constants[i].values + bias;
    }
  }

  ChannelPictures Reached(int i, const NodeView& view, at::Tensor weight) const {
    const NodeShape& shape = view.shape;
    const int64_t groups = a_.relations[i].groups;
    ChannelPictures in = Coarsened(a_.constants[a_.info.inputs(i)[0]]);
    const at::Tensor meets = in.values.flatten(1).ne(0).any(1);
    if (!Any(meets)) return ZeroPictures(shape.channels, shape.height, shape.width);
    if (groups == 1) {
      const at::Tensor which = meets.nonzero().view(-1);
      weight = weight.index_select(1, which);
      in.values = in.values.index_select(0, which);
    }
    ChannelPictures reached = a_.info.op(i).Constants(view, [&](const char*) { return weight; }, {in});
    // Filters that read none of them have no rounding error, either.
    const at::Tensor reads = (a_.pairs_[i] & meets.view({groups, 1, -1})).any(2).view({-1, 1, 1});
    reached.values = reached.values.masked_fill(reads.logical_not(), 0);
    return reached;
  }

  const WeightedNetwork& network_;
  ChannelAnalysis& a_;
};

ChannelAnalysis::ChannelAnalysis(const WeightedNetwork& network) : info(network.Info()) {
  const int size = info.network().node_size();
  relations.resize(size);
  live.resize(size);
  constants.resize(size);
  reached.resize(size);
  pairs_.resize(size);
  passes_.resize(size);
  carries_stream.assign(size, false);
  starts_stream.assign(size, false);
  Builder builder(network, *this);
  for (int i = 0; i < size; ++i) builder.Forward(i);
  for (int i = 0; i < size; ++i) {
    needed.push_back(at::zeros_like(live[i]));
    stream.push_back(at::zeros_like(live[i]));
  }
  for (const int output : info.outputs()) needed[output].fill_(true);
  for (int i = size - 1; i >= 0; --i) builder.Backward(i);
  for (int i = 0; i < size; ++i) builder.FollowStreams(i);
}

at::Tensor ChannelAnalysis::ReadFrom(int node, size_t k, const at::Tensor& outputs) const {
  const ChannelRelation& relation = relations[node];
  if (relation.kind == Kind::kMixed) {
    const at::Tensor& pairs = pairs_[node];
    return (pairs & outputs.view({pairs.size(0), pairs.size(1), 1})).any(1).view(-1);
  }
  const at::Tensor by = passes_[node].defined() ? outputs & passes_[node] : outputs;
  return ToInputs(relation, k, by, info.shape(info.inputs(node)[k]).channels);
}

bool ChannelAnalysis::Contributes(int node, size_t k) const {
  return Any(live[info.inputs(node)[k]] & ReadFrom(node, k, needed[node]));
}

bool ChannelAnalysis::IsResidualSum(int node) const {
  if (info.node(node).op_case() != Node::kAdd) return false;
  int contributing = 0;
  for (size_t k = 0; k < info.inputs(node).size(); ++k) contributing += Contributes(node, k);
  return contributing >= 2;
}

bool ChannelAnalysis::IsStored(int node) const {
  if (info.node(node).op_case() == Node::kFlatten) node = info.inputs(node)[0];
  return info.node(node).op_case() == Node::kConstant;
}

bool ChannelAnalysis::IsConstant(int node) const { return !Any(live[node]); }

at::Tensor ChannelAnalysis::IsEven(int node) const {
  const at::Tensor values = constants[node].values.flatten(1);
  return live[node].logical_not() & values.eq(values.slice(1, 0, 1)).all(1) & values.select(1, 0).ne(0);
}

at::Tensor ChannelAnalysis::Kept(int node) const { return live[node] & needed[node]; }

bool ChannelAnalysis::AnyKept(int node) const { return Any(Kept(node)); }

}  // namespace prunelab
