#include "ml/network/network.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

constexpr int kMostNodes = 1 << 16;

// The inputs are as many, and of the layout, that the operator takes.
absl::Status CheckInputs(const Operator& op, const Node& node, const std::vector<NodeShape>& inputs) {
  const InputRule rule = op.Inputs();
  if (inputs.size() < rule.least || inputs.size() > rule.most) {
    return NodeError(node, absl::StrCat("has ", inputs.size(), " inputs; needs ", rule.least,
                                        rule.most > rule.least ? " or more" : ""));
  }
  for (const NodeShape& input : inputs) {
    if (rule.layout == InputRule::Layout::kMaps && input.flat) {
      return NodeError(node, absl::StrCat("needs an input of shape [channels, height, width], not ", Text(input)));
    }
    if (rule.layout == InputRule::Layout::kFlat && !input.flat) {
      return NodeError(node, absl::StrCat("needs a flat input, not ", Text(input), "; put a flatten before"));
    }
  }
  return absl::OkStatus();
}

// What the node makes and computes, of a shape that its own sizes and those of its inputs lead to.
absl::Status CheckOutput(const Operator& op, const NodeView& view) {
  PRUNELAB_RETURN_IF_ERROR(CheckSize(view.node, "output's height", view.shape.height));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(view.node, "output's width", view.shape.width));
  PRUNELAB_RETURN_IF_ERROR(
      CheckProduct(view.node, "values in its output", {view.shape.channels, view.shape.height, view.shape.width}));
  return CheckProduct(view.node, "multiply-accumulates", op.MacFactors(view));
}

int64_t Product(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

}  // namespace

int64_t StoredRows(const Constant& constant) {
  if (!constant.row_index().empty())
    return 1 + *std::max_element(constant.row_index().begin(), constant.row_index().end());
  return constant.row_repeats_size() > 0 ? constant.row_repeats_size() : constant.height();
}

int64_t StoredColumns(const Constant& constant) {
  if (!constant.column_index().empty()) {
    return 1 + *std::max_element(constant.column_index().begin(), constant.column_index().end());
  }
  return constant.column_repeats_size() > 0 ? constant.column_repeats_size() : constant.width();
}

absl::Status NetworkInfo::FindInputs(int index) {
  const Node& node = network_.node(index);
  for (const std::string& name : node.input()) {
    const auto found = index_.find(name);
    if (found == index_.end()) {
      bool later = false;
      for (int j = index; j < network_.node_size(); ++j) later |= network_.node(j).name() == name;
      return NodeError(
          node, absl::StrCat(
                    "input \"", name, "\" ",
                    later ? "stands later in the list: nodes must follow their inputs, without cycles" : "is no node"));
    }
    inputs_[index].push_back(found->second);
    users_[found->second].push_back(index);
  }
  if (!index_.emplace(node.name(), index).second) return NodeError(node, "has the name of an earlier node");
  return absl::OkStatus();
}

absl::Status NetworkInfo::Infer(int index) {
  const Node& node = network_.node(index);
  const Operator* op = FindOperator(node.op_case());
  if (op == nullptr) return NodeError(node, "says not what it does (conv2d, relu, ...)");
  NodeView view = View(index);
  PRUNELAB_RETURN_IF_ERROR(CheckInputs(*op, node, view.inputs));
  PRUNELAB_ASSIGN_OR_RETURN(view.shape, op->Shape(node, view.inputs));
  PRUNELAB_RETURN_IF_ERROR(CheckOutput(*op, view));
  shapes_[index] = view.shape;
  for (NodeParameter& parameter : op->Parameters(view)) {
    parameters_.push_back({absl::StrCat(node.name(), ".", parameter.suffix), node.name(), std::move(parameter.shape),
                           parameter.is_buffer, parameter.is_integer, parameter.is_constant, parameter.initial,
                           parameter.allowed});
  }
  return absl::OkStatus();
}

absl::StatusOr<NetworkInfo> NetworkInfo::Create(Network network) {
  NetworkInfo info;
  info.network_ = std::move(network);
  const Network& net = info.network_;
  const int size = net.node_size();
  if (size == 0) return absl::InvalidArgumentError("network: has no nodes");
  if (size > kMostNodes) {
    return absl::InvalidArgumentError(absl::StrCat("network: has ", size, " nodes; must be at most ", kMostNodes));
  }
  info.inputs_.resize(size);
  info.users_.resize(size);
  info.shapes_.resize(size);
  int images = 0;
  for (int i = 0; i < size; ++i) {
    const Node& node = net.node(i);
    if (node.name().empty()) return absl::InvalidArgumentError(absl::StrCat("network: node ", i, " has no name"));
    PRUNELAB_RETURN_IF_ERROR(info.FindInputs(i));
    PRUNELAB_RETURN_IF_ERROR(info.Infer(i));
    if (node.op_case() == Node::kImage) {
      info.image_ = i;
      ++images;
    }
    if (node.op_case() == Node::kConv2D) {
      const Conv2d& conv = node.conv2d();
      const NodeShape& in = info.shapes_[info.inputs_[i][0]];
      info.convs_.push_back({node.name(), conv.out_channels(),
                             in.channels / conv.groups() * conv.kernel_height() * conv.kernel_width(),
                             conv.kernel_height(), conv.kernel_width(), info.shapes_[i].height, info.shapes_[i].width});
    }
  }
  if (images != 1) return absl::InvalidArgumentError(absl::StrCat("network: has ", images, " image nodes; needs one"));
  PRUNELAB_RETURN_IF_ERROR(info.FindOutputs());
  return info;
}

absl::Status NetworkInfo::FindOutputs() {
  if (network_.output().empty()) {
    outputs_ = {network_.node_size() - 1};
    return CheckLogits();
  }
  for (const std::string& name : network_.output()) {
    const int index = Index(name);
    if (index < 0) return absl::InvalidArgumentError(absl::StrCat("network: output \"", name, "\" is no node"));
    if (IsOutput(index)) return absl::InvalidArgumentError(absl::StrCat("network: output \"", name, "\" is repeated"));
    outputs_.push_back(index);
  }
  return absl::OkStatus();
}

bool NetworkInfo::IsOutput(int index) const {
  return std::find(outputs_.begin(), outputs_.end(), index) != outputs_.end();
}

std::string NetworkInfo::ResultName(size_t k) const {
  if (k == 0) return "logits";
  const std::string& name = network_.node(outputs_[k]).name();
  return name == "logits" ? absl::StrCat(name, ".result") : name;
}

absl::Status NetworkInfo::CheckLogits() const {
  const NodeShape& shape = shapes_[outputs_[0]];
  if (shape.flat) return absl::OkStatus();
  return NodeError(network_.node(outputs_[0]), absl::StrCat("is the output and must be flat, not ", Text(shape)));
}

const Operator& NetworkInfo::op(int index) const { return *FindOperator(network_.node(index).op_case()); }

NodeView NetworkInfo::View(int index) const {
  NodeView view = {network_.node(index), {}, shapes_[index]};
  for (const int input : inputs_[index]) view.inputs.push_back(shapes_[input]);
  return view;
}

int NetworkInfo::Index(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? -1 : found->second;
}

double NetworkInfo::InitialDeviation(int index) const {
  const Conv2d& conv = node(index).conv2d();
  if (conv.has_initial_deviation()) return conv.initial_deviation();
  // out * kh * kw / groups products read each output.
  const double fan_out =
      static_cast<double>(conv.out_channels() * conv.kernel_height() * conv.kernel_width()) / conv.groups();
  return std::sqrt(2 / fan_out);
}

int64_t NetworkInfo::ParameterCount() const {
  int64_t count = 0;
  for (const ParameterSpec& spec : parameters_) count += spec.is_buffer ? 0 : Product(spec.shape);
  return count;
}

int64_t NetworkInfo::StoredConstantCount() const {
  int64_t count = 0;
  for (const ParameterSpec& spec : parameters_) {
    if (spec.is_constant) count += Product(spec.shape);
  }
  return count;
}

int64_t NetworkInfo::FilterCount() const {
  int64_t count = 0;
  for (const ConvInfo& conv : convs_) count += conv.filters;
  return count;
}

int64_t NetworkInfo::ConvWeightCount() const {
  int64_t count = 0;
  for (const ConvInfo& conv : convs_) count += conv.filters * conv.weights_per_filter;
  return count;
}

int64_t NetworkInfo::MacCount(int index) const {
  const std::vector<int64_t> factors = op(index).MacFactors(View(index));
  return factors.empty() ? 0 : Product(factors);
}

int64_t NetworkInfo::MacCount() const {
  int64_t count = 0;
  for (int i = 0; i < network_.node_size(); ++i) count += MacCount(i);
  return count;
}

}  // namespace prunelab
