#include "ml/onnx/graph.h"

#include <ATen/ATen.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

const OnnxAttribute* Find(const OnnxNode& node, const char* name) {
  const auto found = node.attributes.find(name);
  return found == node.attributes.end() ? nullptr : &found->second;
}

}  // namespace

const OnnxNode* OnnxGraph::Producer(int value) const {
  if (value < 0 || values[value].producer < 0) return nullptr;
  return &nodes[values[value].producer];
}

std::vector<int> CountUsers(const OnnxGraph& graph) {
  std::vector<int> users(graph.values.size(), 0);
  for (const OnnxNode& node : graph.nodes) {
    for (const int input : node.inputs) {
      if (input >= 0) ++users[input];
    }
  }
  for (const int output : graph.outputs) ++users[output];
  return users;
}

std::string Quoted(absl::string_view text) {
  constexpr size_t kShown = 120;
  const bool cut = text.size() > kShown;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kShown)), cut ? "..." : "", "\"");
}

std::string SizesText(const std::vector<int64_t>& sizes) { return absl::StrCat("[", absl::StrJoin(sizes, ", "), "]"); }

std::string Describe(const OnnxNode& node) {
  return absl::StrCat("node ", Quoted(node.name), " (", absl::CHexEscape(node.op.substr(0, 60)), ")");
}

absl::Status NodeRefused(const OnnxNode& node, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(Describe(node), ": ", message));
}

bool HasAttribute(const OnnxNode& node, const char* name) { return Find(node, name) != nullptr; }

int64_t IntAttribute(const OnnxNode& node, const char* name, int64_t otherwise) {
  const OnnxAttribute* found = Find(node, name);
  return found == nullptr || found->ints.empty() ? otherwise : found->ints[0];
}

double FloatAttribute(const OnnxNode& node, const char* name, double otherwise) {
  const OnnxAttribute* found = Find(node, name);
  return found == nullptr || found->floats.empty() ? otherwise : found->floats[0];
}

std::string TextAttribute(const OnnxNode& node, const char* name, const std::string& otherwise) {
  const OnnxAttribute* found = Find(node, name);
  return found == nullptr ? otherwise : found->text;
}

std::vector<int64_t> IntsAttribute(const OnnxNode& node, const char* name, std::vector<int64_t> otherwise) {
  const OnnxAttribute* found = Find(node, name);
  return found == nullptr ? otherwise : found->ints;
}

bool HasInput(const OnnxNode& node, size_t k) { return OnnxGraph::Input(node, k) >= 0; }

absl::StatusOr<at::Tensor> ConstantInput(const OnnxGraph& graph, const OnnxNode& node, size_t k) {
  const int value = OnnxGraph::Input(node, k);
  if (value < 0) return NodeRefused(node, absl::StrCat("has no input ", k));
  if (!graph.IsConstant(value)) {
    return NodeRefused(node, absl::StrCat("input ", k, ", ", Quoted(graph.values[value].name),
                                          ", depends on the images; must be an initializer or computed from some"));
  }
  return graph.Constant(value);
}

std::vector<int64_t> ToInts(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kLong).contiguous();
  return std::vector<int64_t>(values.data_ptr<int64_t>(), values.data_ptr<int64_t>() + values.numel());
}

absl::StatusOr<std::vector<int64_t>> IntsOf(const OnnxGraph& graph, const OnnxNode& node, const char* attribute,
                                            size_t k, std::vector<int64_t> otherwise) {
  if (!HasInput(node, k)) return IntsAttribute(node, attribute, std::move(otherwise));
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor tensor, ConstantInput(graph, node, k));
  constexpr int64_t kMost = 1 << 22;
  if (tensor.dim() > 1 || tensor.numel() > kMost || !c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/false)) {
    return NodeRefused(node, absl::StrCat("input ", k, " (", attribute, ") must be a vector of integers"));
  }
  return ToInts(tensor);
}

absl::StatusOr<double> NumberOf(const OnnxGraph& graph, const OnnxNode& node, const char* attribute, size_t k,
                                double otherwise) {
  if (!HasInput(node, k)) return FloatAttribute(node, attribute, otherwise);
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor tensor, ConstantInput(graph, node, k));
  if (tensor.numel() != 1) return NodeRefused(node, absl::StrCat("input ", k, " (", attribute, ") must be one number"));
  return tensor.to(at::kDouble).item<double>();
}

}  // namespace prunelab
