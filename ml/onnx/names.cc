#include "ml/onnx/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace prunelab {
namespace {

constexpr size_t kLongest = 200;

// With characters of PyTorch's names alone.
std::string Cleaned(absl::string_view name) {
  std::string cleaned;
  for (const char c : name.substr(0, kLongest)) {
    const bool fits = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
    if (fits || (!cleaned.empty() && cleaned.back() != '_')) cleaned.push_back(fits ? c : '_');
  }
  return std::string(absl::StripSuffix(absl::StripPrefix(cleaned, "."), "."));
}

std::string Last(const std::string& name) { return name.substr(name.find_last_of('.') + 1); }

// "layer1.0.conv1" of "layer1.0.conv1.weight"; a parameter of another name is a module's own: "layer1.layer_scale"
// stays. "" for what no module has: "onnx::Conv_193".
std::string ModuleOf(const std::string& parameter) {
  const size_t dot = parameter.find_last_of('.');
  if (dot == std::string::npos || dot == 0 || Cleaned(parameter) != parameter) return "";
  const std::string suffix = parameter.substr(dot + 1);
  for (const char* known : {"weight", "bias", "running_mean", "running_var", "value"}) {
    if (suffix == known) return parameter.substr(0, dot);
  }
  return parameter;
}

// What all the parameters that have a module agree on; "" if they do not.
std::string CommonModule(const OnnxGraph& graph, const std::vector<int>& parameters) {
  std::string common;
  for (const int value : parameters) {
    const std::string module = ModuleOf(graph.values[value].name);
    if (module.empty()) continue;
    if (!common.empty() && module != common) return "";
    common = module;
  }
  return common;
}

// The module around the node, as the exporter says.
std::string ScopeOf(const OnnxNode& node) {
  return node.scopes.size() < 2 ? "" : Cleaned(node.scopes[node.scopes.size() - 2]);
}

bool IsWithin(const std::string& name, const std::string& scope) {
  return name == scope || absl::StartsWith(name, absl::StrCat(scope, "."));
}

}  // namespace

NameHint NameOf(const OnnxGraph& graph, const OnnxNode& node, const std::vector<int>& parameters) {
  const std::string common = CommonModule(graph, parameters), scope = ScopeOf(node);
  const std::string op = absl::AsciiStrToLower(Last(node.op));
  // Equal tensors may be stored once, so that a parameter has the name of another module.
  if (!common.empty() && (scope.empty() || IsWithin(common, scope))) return {common, 0};
  if (!parameters.empty() && !scope.empty()) return {scope, 1};
  if (!common.empty()) return {common, 1};
  if (node.scopes.size() >= 2) {
    if (scope.empty() || Last(scope) == op) return {scope.empty() ? op : scope, 2};
    return {absl::StrCat(scope, ".", op), 2};
  }
  const std::string own = Cleaned(absl::StripPrefix(node.name, "node_"));
  return {own.empty() ? op : own, 2};
}

}  // namespace prunelab
