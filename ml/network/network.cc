#include "ml/network/network.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

absl::Status NodeError(const Node& node, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat("network: node \"", node.name(), "\": ", message));
}

std::string Text(const NodeShape& shape) {
  if (shape.flat) return absl::StrCat("[", shape.channels, "]");
  return absl::StrCat("[", shape.channels, ", ", shape.height, ", ", shape.width, "]");
}

// Sizes are bounded, and so are their products and the sums of these: a network read from a file may say anything.
constexpr int64_t kLargestSize = int64_t{1} << 20;
constexpr int64_t kLargestProduct = int64_t{1} << 46;  // elements of a tensor, multiply-accumulates of a node
constexpr int kMostNodes = 1 << 16;

absl::Status CheckSize(const Node& node, absl::string_view field, int64_t value, int64_t least = 1) {
  if (value < least || value > kLargestSize) {
    return NodeError(node, absl::StrCat(field, " is ", value, "; must be from ", least, " to ", kLargestSize));
  }
  return absl::OkStatus();
}

// `what` is the product of `sizes`, each at least 1.
absl::Status CheckProduct(const Node& node, absl::string_view what, const std::vector<int64_t>& sizes) {
  int64_t product = 1;
  for (const int64_t size : sizes) {
    if (size > kLargestProduct / product) {
      return NodeError(node, absl::StrCat("has more than ", kLargestProduct, " ", what));
    }
    product *= size;
  }
  return absl::OkStatus();
}

// Output size of a sliding window, as PyTorch's.
absl::StatusOr<int64_t> WindowOutput(const Node& node, int64_t size, int64_t kernel, int64_t stride, int64_t padding,
                                     int64_t dilation) {
  const int64_t extent = dilation * (kernel - 1) + 1;
  if (size + 2 * padding < extent) {
    return NodeError(
        node, absl::StrCat("a window of ", extent, " pixels does not fit into ", size, " with padding ", padding));
  }
  return (size + 2 * padding - extent) / stride + 1;
}

absl::StatusOr<NodeShape> PoolShape(const Node& node, const NodeShape& in, int64_t kernel, int64_t stride,
                                    int64_t padding) {
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "kernel", kernel));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "stride", stride));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "padding", padding, 0));
  if (2 * padding > kernel) {
    return NodeError(node, absl::StrCat("padding ", padding, " is more than half of the kernel ", kernel));
  }
  NodeShape out = in;
  PRUNELAB_ASSIGN_OR_RETURN(out.height, WindowOutput(node, in.height, kernel, stride, padding, 1));
  PRUNELAB_ASSIGN_OR_RETURN(out.width, WindowOutput(node, in.width, kernel, stride, padding, 1));
  return out;
}

absl::StatusOr<NodeShape> ConvShape(const Node& node, const NodeShape& in) {
  const Conv2d& conv = node.conv2d();
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "out_channels", conv.out_channels()));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "kernel_height", conv.kernel_height()));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "kernel_width", conv.kernel_width()));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "stride", conv.stride()));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "padding", conv.padding(), 0));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "dilation", conv.dilation()));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "groups", conv.groups()));
  if (in.channels % conv.groups() != 0 || conv.out_channels() % conv.groups() != 0) {
    return NodeError(node, absl::StrCat("groups ", conv.groups(), " must divide the ", in.channels,
                                        " input channels and the ", conv.out_channels(), " output channels"));
  }
  NodeShape out;
  out.channels = conv.out_channels();
  PRUNELAB_ASSIGN_OR_RETURN(
      out.height, WindowOutput(node, in.height, conv.kernel_height(), conv.stride(), conv.padding(), conv.dilation()));
  PRUNELAB_ASSIGN_OR_RETURN(
      out.width, WindowOutput(node, in.width, conv.kernel_width(), conv.stride(), conv.padding(), conv.dilation()));
  return out;
}

absl::StatusOr<NodeShape> ScatterShape(const Node& node, const NodeShape& in) {
  const Scatter& scatter = node.scatter();
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "channels", scatter.channels()));
  if (scatter.index_size() != in.channels) {
    return NodeError(node, absl::StrCat("has ", scatter.index_size(), " indices for ", in.channels, " input channels"));
  }
  std::set<int64_t> seen;
  for (const int64_t index : scatter.index()) {
    if (index < 0 || index >= scatter.channels() || !seen.insert(index).second) {
      return NodeError(node,
                       absl::StrCat("index ", index, " is out of range or repeated; indices must differ and be below ",
                                    scatter.channels()));
    }
  }
  NodeShape out = in;
  out.channels = scatter.channels();
  return out;
}

absl::Status CheckRepeats(const Node& node, absl::string_view field,
                          const google::protobuf::RepeatedField<int64_t>& repeats, int64_t size) {
  if (repeats.empty()) return absl::OkStatus();
  int64_t sum = 0;
  for (const int64_t repeat : repeats) {
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, field, repeat));
    sum += repeat;
  }
  if (sum == size) return absl::OkStatus();
  return NodeError(node, absl::StrCat(field, " add up to ", sum, "; must be ", size));
}

absl::StatusOr<NodeShape> AddShape(const Node& node, const std::vector<NodeShape>& in) {
  NodeShape out = in[0];
  for (const NodeShape& shape : in) {
    const bool fits = shape.flat == out.flat && shape.channels == out.channels &&
                      (shape.height == out.height || shape.height == 1 || out.height == 1) &&
                      (shape.width == out.width || shape.width == 1 || out.width == 1);
    if (!fits) return NodeError(node, absl::StrCat("adds shapes that differ: ", Text(in[0]), " and ", Text(shape)));
    out.height = std::max(out.height, shape.height);
    out.width = std::max(out.width, shape.width);
  }
  return out;
}

absl::StatusOr<NodeShape> InferShape(const Node& node, const std::vector<NodeShape>& in) {
  // Inputs: how many, and whether they must be images.
  const auto op = node.op_case();
  const bool sourced = op != Node::kImage && op != Node::kConstant;
  const size_t least = op == Node::kAdd ? 2 : sourced ? 1 : 0;
  const size_t most = op == Node::kAdd ? 1000 : least;
  if (in.size() < least || in.size() > most) {
    return NodeError(node,
                     absl::StrCat("has ", in.size(), " inputs; needs ", least, op == Node::kAdd ? " or more" : ""));
  }
  const bool wants_image = sourced && op != Node::kRelu && op != Node::kAdd && op != Node::kLinear;
  if (wants_image && in[0].flat) {
    return NodeError(node, absl::StrCat("needs an input of shape [channels, height, width], not ", Text(in[0])));
  }
  NodeShape out;
  switch (op) {
    case Node::kImage:
      PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "channels", node.image().channels()));
      PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "height", node.image().height()));
      PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "width", node.image().width()));
      return NodeShape{node.image().channels(), node.image().height(), node.image().width(), false};
    case Node::kConv2D:
      return ConvShape(node, in[0]);
    case Node::kBatchNorm2D:
      if (!(node.batch_norm2d().epsilon() > 0)) return NodeError(node, "epsilon must be above 0");
      if (!(node.batch_norm2d().momentum() >= 0 && node.batch_norm2d().momentum() <= 1)) {
        return NodeError(node, "momentum must be in [0, 1]");
      }
      return in[0];
    case Node::kRelu:
      return in[0];
    case Node::kAdd:
      return AddShape(node, in);
    case Node::kMaxPool2D:
      return PoolShape(node, in[0], node.max_pool2d().kernel(), node.max_pool2d().stride(),
                       node.max_pool2d().padding());
    case Node::kAveragePool2D:
      return PoolShape(node, in[0], node.average_pool2d().kernel(), node.average_pool2d().stride(),
                       node.average_pool2d().padding());
    case Node::kGlobalAveragePool:
      return NodeShape{in[0].channels, 1, 1, false};
    case Node::kFlatten:
      out = NodeShape{in[0].channels * in[0].height * in[0].width, 1, 1, true};
      PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "number of features", out.channels));
      return out;
    case Node::kLinear:
      if (!in[0].flat)
        return NodeError(node, absl::StrCat("needs a flat input, not ", Text(in[0]), "; put a flatten before"));
      PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "out_features", node.linear().out_features()));
      return NodeShape{node.linear().out_features(), 1, 1, true};
    case Node::kScatter:
      return ScatterShape(node, in[0]);
    case Node::kConstant:
      PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "channels", node.constant().channels()));
      PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "height", node.constant().height()));
      PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "width", node.constant().width()));
      PRUNELAB_RETURN_IF_ERROR(
          CheckRepeats(node, "row_repeats", node.constant().row_repeats(), node.constant().height()));
      PRUNELAB_RETURN_IF_ERROR(
          CheckRepeats(node, "column_repeats", node.constant().column_repeats(), node.constant().width()));
      return NodeShape{node.constant().channels(), node.constant().height(), node.constant().width(), false};
    case Node::OP_NOT_SET:
      break;
  }
  return NodeError(node, "says not what it does (conv2d, relu, ...)");
}

// Parameters and buffers of a node, in the order of PyTorch's state_dict.
std::vector<ParameterSpec> NodeParameters(const Node& node, const NodeShape& in) {
  std::vector<ParameterSpec> specs;
  const auto add = [&](const char* suffix, std::vector<int64_t> shape, bool is_buffer = false,
                       bool is_integer = false) {
    specs.push_back({absl::StrCat(node.name(), ".", suffix), node.name(), std::move(shape), is_buffer, is_integer});
  };
  switch (node.op_case()) {
    case Node::kConv2D: {
      const Conv2d& conv = node.conv2d();
      add("weight", {conv.out_channels(), in.channels / conv.groups(), conv.kernel_height(), conv.kernel_width()});
      if (conv.bias()) add("bias", {conv.out_channels()});
      break;
    }
    case Node::kBatchNorm2D:
      add("weight", {in.channels});
      add("bias", {in.channels});
      add("running_mean", {in.channels}, true);
      add("running_var", {in.channels}, true);
      add("num_batches_tracked", {}, true, true);
      break;
    case Node::kLinear:
      add("weight", {node.linear().out_features(), in.channels});
      if (node.linear().bias()) add("bias", {node.linear().out_features()});
      break;
    case Node::kConstant:
      add("value", {node.constant().channels(), StoredRows(node.constant()), StoredColumns(node.constant())}, true);
      break;
    default:
      break;
  }
  return specs;
}

// What the node makes and computes, of a shape that its own sizes and those of its input lead to.
absl::Status CheckOutput(const Node& node, const NodeShape& in, const NodeShape& out) {
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "output's height", out.height));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "output's width", out.width));
  PRUNELAB_RETURN_IF_ERROR(CheckProduct(node, "values in its output", {out.channels, out.height, out.width}));
  if (node.op_case() != Node::kConv2D) return absl::OkStatus();
  const Conv2d& conv = node.conv2d();
  return CheckProduct(
      node, "multiply-accumulates",
      {out.channels, out.height, out.width, in.channels / conv.groups(), conv.kernel_height(), conv.kernel_width()});
}

int64_t Product(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

}  // namespace

int64_t StoredRows(const Constant& constant) {
  return constant.row_repeats_size() > 0 ? constant.row_repeats_size() : constant.height();
}

int64_t StoredColumns(const Constant& constant) {
  return constant.column_repeats_size() > 0 ? constant.column_repeats_size() : constant.width();
}

absl::StatusOr<NetworkInfo> NetworkInfo::Create(Network network) {
  NetworkInfo info;
  info.network_ = std::move(network);
  const Network& net = info.network_;
  if (net.node_size() == 0) return absl::InvalidArgumentError("network: has no nodes");
  if (net.node_size() > kMostNodes) {
    return absl::InvalidArgumentError(
        absl::StrCat("network: has ", net.node_size(), " nodes; must be at most ", kMostNodes));
  }
  const int size = net.node_size();
  info.inputs_.resize(size);
  info.users_.resize(size);
  int images = 0;
  for (int i = 0; i < size; ++i) {
    const Node& node = net.node(i);
    if (node.name().empty()) return absl::InvalidArgumentError(absl::StrCat("network: node ", i, " has no name"));
    std::vector<NodeShape> in;
    for (const std::string& name : node.input()) {
      const auto found = info.index_.find(name);
      if (found == info.index_.end()) {
        bool later = false;
        for (int j = i; j < size; ++j) later |= net.node(j).name() == name;
        return NodeError(node,
                         absl::StrCat("input \"", name, "\" ",
                                      later ? "stands later in the list: nodes must follow their inputs, without cycles"
                                            : "is no node"));
      }
      info.inputs_[i].push_back(found->second);
      info.users_[found->second].push_back(i);
      in.push_back(info.shapes_[found->second]);
    }
    if (!info.index_.emplace(node.name(), i).second) return NodeError(node, "has the name of an earlier node");
    PRUNELAB_ASSIGN_OR_RETURN(NodeShape shape, InferShape(node, in));
    PRUNELAB_RETURN_IF_ERROR(CheckOutput(node, in.empty() ? NodeShape{} : in[0], shape));
    info.shapes_.push_back(shape);
    if (node.op_case() == Node::kImage) {
      info.input_ = i;
      ++images;
    }
    for (ParameterSpec& spec : NodeParameters(node, in.empty() ? NodeShape{} : in[0])) {
      info.parameters_.push_back(std::move(spec));
    }
    if (node.op_case() == Node::kConv2D) {
      const Conv2d& conv = node.conv2d();
      info.convs_.push_back({node.name(), conv.out_channels(),
                             in[0].channels / conv.groups() * conv.kernel_height() * conv.kernel_width(),
                             conv.kernel_height(), conv.kernel_width(), shape.height, shape.width});
    }
  }
  if (images != 1) return absl::InvalidArgumentError(absl::StrCat("network: has ", images, " image nodes; needs one"));
  if (!info.shapes_.back().flat) {
    return NodeError(net.node(size - 1),
                     absl::StrCat("is the output and must be flat, not ", Text(info.shapes_.back())));
  }
  return info;
}

int NetworkInfo::Index(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? -1 : found->second;
}

int64_t NetworkInfo::ParameterCount() const {
  int64_t count = 0;
  for (const ParameterSpec& spec : parameters_) count += spec.is_buffer ? 0 : Product(spec.shape);
  return count;
}

int64_t NetworkInfo::StoredConstantCount() const {
  int64_t count = 0;
  for (const ParameterSpec& spec : parameters_) {
    if (node(Index(spec.node)).op_case() == Node::kConstant) count += Product(spec.shape);
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
  const Node& node = network_.node(index);
  if (node.op_case() == Node::kConv2D) {
    const NodeShape& in = shapes_[inputs_[index][0]];
    const NodeShape& out = shapes_[index];
    const Conv2d& conv = node.conv2d();
    return out.channels * out.height * out.width * (in.channels / conv.groups()) * conv.kernel_height() *
           conv.kernel_width();
  }
  if (node.op_case() == Node::kLinear) return shapes_[inputs_[index][0]].channels * shapes_[index].channels;
  return 0;
}

int64_t NetworkInfo::MacCount() const {
  int64_t count = 0;
  for (int i = 0; i < network_.node_size(); ++i) count += MacCount(i);
  return count;
}

}  // namespace prunelab
