#include "ml/onnx/network_builder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"
#include "ml/onnx/graph.h"
#include "ml/onnx/view.h"

namespace prunelab {
namespace {

// A node's error without the node's name, which it does not have yet.
absl::Status WithoutName(const absl::Status& status) {
  const absl::string_view message = status.message();
  const size_t end = message.find("\": ");
  return end == absl::string_view::npos ? status : absl::Status(status.code(), message.substr(end + 3));
}

absl::Status CheckInputs(const Operator& op, const std::vector<NodeShape>& inputs) {
  const InputRule rule = op.Inputs();
  if (inputs.size() < rule.least || inputs.size() > rule.most) {
    return absl::InvalidArgumentError(absl::StrCat(op.Name(), ": cannot have ", inputs.size(), " inputs"));
  }
  for (const NodeShape& input : inputs) {
    const bool wrong = (rule.layout == InputRule::Layout::kMaps && input.flat) ||
                       (rule.layout == InputRule::Layout::kFlat && !input.flat);
    if (wrong) return absl::InvalidArgumentError(absl::StrCat(op.Name(), ": cannot have an input ", Text(input)));
  }
  return absl::OkStatus();
}

absl::Status CheckTensors(const Operator& op, const NodeView& view, const std::map<std::string, at::Tensor>& tensors) {
  for (const NodeParameter& parameter : op.Parameters(view)) {
    const auto found = tensors.find(parameter.suffix);
    if (found == tensors.end()) return absl::InvalidArgumentError(absl::StrCat("has no ", parameter.suffix));
    if (found->second.sizes() != at::IntArrayRef(parameter.shape)) {
      return absl::InvalidArgumentError(absl::StrCat("its ", parameter.suffix, " is ",
                                                     SizesText(found->second.sizes().vec()), "; must be ",
                                                     SizesText(parameter.shape)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<NodeShape> InferShape(const Node& node, const std::vector<NodeShape>& inputs,
                                     const std::map<std::string, at::Tensor>& tensors) {
  const Operator* op = FindOperator(node.op_case());
  if (op == nullptr) return absl::UnimplementedError("the network has no such operator");
  PRUNELAB_RETURN_IF_ERROR(CheckInputs(*op, inputs));
  PRUNELAB_ASSIGN_OR_RETURN(const NodeShape shape, op->Shape(node, inputs));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "output's height", shape.height));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "output's width", shape.width));
  PRUNELAB_RETURN_IF_ERROR(CheckProduct(node, "values in its output", {shape.channels, shape.height, shape.width}));
  PRUNELAB_RETURN_IF_ERROR(CheckTensors(*op, {node, inputs, shape}, tensors));
  return shape;
}

bool Has(const BuiltNode& node, const char* suffix) { return node.tensors.count(suffix) > 0; }

// A norm's parameters, for its node's `affine`.
template <typename Norm>
bool MakeAffine(Norm* norm, BuiltNode& before, const BuiltNode& scale) {
  if (norm->affine()) return false;
  norm->set_affine(true);
  const at::Tensor& some = scale.tensors.begin()->second;
  before.tensors["weight"] = Has(scale, "weight") ? scale.tensors.at("weight") : at::ones_like(some);
  before.tensors["bias"] = Has(scale, "bias") ? scale.tensors.at("bias") : at::zeros_like(some);
  return true;
}

// Adds the scale's bias to a layer that has none.
template <typename Layer>
bool AddBias(Layer* layer, BuiltNode& before, const BuiltNode& scale) {
  if (layer->bias() || Has(scale, "weight")) return false;
  layer->set_bias(true);
  before.tensors["bias"] = scale.tensors.at("bias");
  return true;
}

bool ScaleInto(BuiltNode& before, const BuiltNode& scale) {
  switch (before.op.op_case()) {
    case Node::kConv2D:
      return AddBias(before.op.mutable_conv2d(), before, scale);
    case Node::kConvTranspose2D:
      return AddBias(before.op.mutable_conv_transpose2d(), before, scale);
    case Node::kLinear:
      return AddBias(before.op.mutable_linear(), before, scale);
    case Node::kLayerNorm:
      return MakeAffine(before.op.mutable_layer_norm(), before, scale);
    case Node::kGroupNorm:
      return MakeAffine(before.op.mutable_group_norm(), before, scale);
    case Node::kInstanceNorm:
      return MakeAffine(before.op.mutable_instance_norm(), before, scale);
    case Node::kChannelScale: {
      if (before.op.channel_scale().bias() || scale.op.channel_scale().weight()) return false;
      before.op.mutable_channel_scale()->set_bias(true);
      before.tensors["bias"] = scale.tensors.at("bias");
      return true;
    }
    default:
      return false;
  }
}

// A selection of a scatter's channels that has each of its input's channels once is a scatter.
bool SelectInto(BuiltNode& before, const BuiltNode& select) {
  if (before.op.op_case() != Node::kScatter || before.shape.flat) return false;
  const Scatter& scatter = before.op.scatter();
  std::vector<int64_t> source(static_cast<size_t>(scatter.channels()), -1);  // input channel by scattered channel
  for (int k = 0; k < scatter.index_size(); ++k) source[static_cast<size_t>(scatter.index(k))] = k;
  std::vector<int64_t> index(static_cast<size_t>(scatter.index_size()), -1);
  const auto& chosen = select.op.select().index();
  for (int k = 0; k < chosen.size(); ++k) {
    const int64_t from = source[static_cast<size_t>(chosen.Get(k))];
    if (from < 0) continue;
    if (index[static_cast<size_t>(from)] >= 0) return false;
    index[static_cast<size_t>(from)] = k;
  }
  if (std::count(index.begin(), index.end(), -1) > 0) return false;
  Scatter merged;
  merged.set_channels(chosen.size());
  for (const int64_t to : index) merged.add_index(to);
  *before.op.mutable_scatter() = merged;
  return true;
}

// Rows first, then columns: one node of both. `in`: what the first reads.
template <typename Message>
bool RowsAndColumns(const NodeShape& in, Message* rows, const Message& columns) {
  if (rows->function() != columns.function() || rows->width() != in.width || rows->height() != columns.height()) {
    return false;
  }
  rows->set_width(columns.width());
  return true;
}

bool ResizeInto(const NodeShape& in, BuiltNode& before, const BuiltNode& resize) {
  return before.op.op_case() == Node::kResize && resize.op.resize().function() == Resize::NEAREST &&
         RowsAndColumns(in, before.op.mutable_resize(), resize.op.resize());
}

bool PoolInto(const NodeShape& in, BuiltNode& before, const BuiltNode& pool) {
  return before.op.op_case() == Node::kAdaptivePool2D &&
         RowsAndColumns(in, before.op.mutable_adaptive_pool2d(), pool.op.adaptive_pool2d());
}

// Makes `before` do what `after` does as well; false if that is no one node. `in`: what `before` reads.
bool Merged(const NodeShape& in, BuiltNode& before, const BuiltNode& after) {
  switch (after.op.op_case()) {
    case Node::kChannelScale:
      return ScaleInto(before, after);
    case Node::kSelect:
      return SelectInto(before, after);
    case Node::kResize:
      return ResizeInto(in, before, after);
    case Node::kAdaptivePool2D:
      return PoolInto(in, before, after);
    default:
      return false;
  }
}

}  // namespace

absl::Status NetworkBuilder::Store(at::Tensor& tensor) {
  const bool converts =
      tensor.is_floating_point() && tensor.scalar_type() != at::kDouble && tensor.scalar_type() != at::kFloat;
  if (!converts && tensor.is_contiguous()) return absl::OkStatus();
  budget_ -= tensor.numel();
  if (budget_ < 0) return absl::InvalidArgumentError("makes too many elements of the file's constants");
  if (converts) tensor = tensor.to(at::kFloat);
  tensor = tensor.contiguous();
  return absl::OkStatus();
}

absl::StatusOr<int> NetworkBuilder::Emit(Node op, std::vector<int> inputs, std::map<std::string, at::Tensor> tensors,
                                         NameHint hint) {
  std::vector<NodeShape> shapes;
  for (const int input : inputs) shapes.push_back(nodes_[input].shape);
  const absl::StatusOr<NodeShape> shape = InferShape(op, shapes, tensors);
  if (!shape.ok()) return WithoutName(shape.status());
  for (auto& [suffix, tensor] : tensors) PRUNELAB_RETURN_IF_ERROR(Store(tensor));
  nodes_.push_back({std::move(op), std::move(inputs), *shape, std::move(tensors), std::move(hint)});
  return size() - 1;
}

std::vector<bool> NetworkBuilder::Needed(const std::vector<int>& outputs) const {
  std::vector<bool> needed(nodes_.size(), false);
  for (const int output : outputs) needed[output] = true;
  for (int i = size() - 1; i >= 0; --i) {
    if (!needed[i]) continue;
    for (const int input : nodes_[i].inputs) needed[input] = true;
  }
  return needed;
}

bool NetworkBuilder::MergeInto(int before, int scale) {
  BuiltNode& first = nodes_[before];
  const BuiltNode& second = nodes_[scale];
  if (first.inputs.empty() || !Merged(nodes_[first.inputs[0]].shape, first, second)) return false;
  first.shape = second.shape;
  if (second.name.rank < first.name.rank) first.name = second.name;
  return true;
}

void NetworkBuilder::Merge(std::vector<int>& outputs) {
  const std::vector<bool> needed = Needed(outputs);
  std::vector<int> users(nodes_.size(), 0), replaced(nodes_.size());
  for (int i = 0; i < size(); ++i) {
    for (const int input : nodes_[i].inputs) users[input] += needed[i] ? 1 : 0;
  }
  for (const int output : outputs) ++users[output];
  for (int i = 0; i < size(); ++i) {
    replaced[i] = i;
    for (int& input : nodes_[i].inputs) input = replaced[input];
    if (!needed[i] || nodes_[i].inputs.size() != 1) continue;
    const int before = nodes_[i].inputs[0];
    if (users[before] != 1 || !MergeInto(before, i)) continue;
    replaced[i] = before;
    users[before] = users[i];
  }
  for (int& output : outputs) output = replaced[output];
}

std::vector<std::string> NetworkBuilder::UniqueNames(const std::vector<bool>& needed) const {
  std::vector<std::string> names(nodes_.size());
  std::set<std::string> taken;
  std::map<std::string, int> next;  // by name: the number to try next
  for (const int rank : {0, 1, 2}) {
    for (int i = 0; i < size(); ++i) {
      if (!needed[i] || nodes_[i].name.rank != rank) continue;
      const std::string wanted = nodes_[i].name.name.empty() ? "node" : nodes_[i].name.name;
      names[i] = wanted;
      while (!taken.insert(names[i]).second) names[i] = absl::StrCat(wanted, "_", ++next[wanted]);
    }
  }
  return names;
}

Network NetworkBuilder::Take(const std::vector<int>& outputs, std::map<std::string, at::Tensor>& tensors) {
  const std::vector<bool> needed = Needed(outputs);
  const std::vector<std::string> names = UniqueNames(needed);
  Network network;
  for (int i = 0; i < size(); ++i) {
    if (!needed[i]) continue;
    Node* node = network.add_node();
    *node = nodes_[i].op;
    node->set_name(names[i]);
    for (const int input : nodes_[i].inputs) node->add_input(names[input]);
    for (const auto& [suffix, tensor] : nodes_[i].tensors) {
      tensors[absl::StrCat(names[i], ".", suffix)] = tensor;
    }
  }
  if (outputs.size() > 1 || !nodes_[outputs[0]].shape.flat) {
    for (const int output : outputs) network.add_output(names[output]);
  }
  return network;
}

}  // namespace prunelab
