#include "ml/network/node_checks.h"

#include "absl/strings/str_cat.h"

namespace prunelab {
namespace {

constexpr int64_t kLargestSize = int64_t{1} << 20;
constexpr int64_t kLargestProduct = int64_t{1} << 46;  // elements of a tensor, multiply-accumulates of a node

}  // namespace

absl::Status NodeError(const Node& node, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat("network: node \"", node.name(), "\": ", message));
}

std::string Text(const NodeShape& shape) {
  if (shape.flat) return absl::StrCat("[", shape.channels, "]");
  return absl::StrCat("[", shape.channels, ", ", shape.height, ", ", shape.width, "]");
}

absl::Status CheckSize(const Node& node, absl::string_view field, int64_t value, int64_t least) {
  if (value < least || value > kLargestSize) {
    return NodeError(node, absl::StrCat(field, " is ", value, "; must be from ", least, " to ", kLargestSize));
  }
  return absl::OkStatus();
}

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

absl::Status CheckDeviation(const Node& node, absl::string_view field, double value) {
  constexpr double kLargest = 1000;
  if (value >= 0 && value <= kLargest) return absl::OkStatus();
  return NodeError(node, absl::StrCat(field, " is ", value, "; must be from 0 to ", kLargest, ", e.g. 0.01"));
}

absl::Status CheckBits(const Node& node, absl::string_view field, int64_t value) {
  if (value >= 2 && value <= 8) return absl::OkStatus();
  return NodeError(node, absl::StrCat(field, " is ", value, "; must be from 2 to 8"));
}

NodeParameter WeightScale(int64_t channels) {
  NodeParameter scale = {"weight_scale", {channels}, /*is_buffer=*/true};
  scale.initial = 1;
  scale.allowed = Allowed::kPositive;
  return scale;
}

absl::Status CheckPads(const Node& node, const google::protobuf::RepeatedField<int64_t>& pads) {
  if (!pads.empty() && pads.size() != 4) {
    return NodeError(node, absl::StrCat("has ", pads.size(), " pads; needs 4: top, left, bottom, right"));
  }
  for (const int64_t pad : pads) {
    if (absl::Status status = CheckSize(node, "pads", pad, 0); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> WindowOutput(const Node& node, int64_t size, const WindowAxis& window) {
  const int64_t positions = window.Positions(size);
  if (positions >= 1) return positions;
  const std::string pads =
      window.before == window.after ? absl::StrCat(window.before) : absl::StrCat(window.before, " and ", window.after);
  return NodeError(
      node, absl::StrCat("a window of ", window.extent(), " pixels does not fit into ", size, " with padding ", pads));
}

}  // namespace prunelab
