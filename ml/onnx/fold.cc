#include "ml/onnx/fold.h"

#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/shape_rules.h"
#include "ml/onnx/tensor_type.h"

namespace prunelab {
namespace {

using Tensors = std::vector<at::Tensor>;

constexpr int64_t kMostElements = int64_t{1} << 26;
constexpr char kTooMany[] = "the graph's computed constants have too many elements";

// A node with what its inputs are; left out ones are undefined.
struct Call {
  const OnnxGraph& graph;
  const OnnxNode& node;
  Tensors in;

  absl::Status Needs(size_t inputs) const {
    for (size_t k = 0; k < inputs; ++k) {
      if (k >= in.size() || !in[k].defined()) return NodeRefused(node, absl::StrCat("has no input ", k));
    }
    return absl::OkStatus();
  }
  // Refuses results that would be large although no input is.
  absl::Status Allow(const std::vector<int64_t>& sizes) const {
    PRUNELAB_ASSIGN_OR_RETURN(const int64_t elements, CountElements(node, sizes));
    int64_t given = 0;
    for (const at::Tensor& tensor : in) given += tensor.defined() ? tensor.numel() : 0;
    if (elements <= std::max(given, kMostElements)) return absl::OkStatus();
    return NodeRefused(node, absl::StrCat("computes a constant of the sizes ", SizesText(sizes), ": more than ",
                                          kMostElements, " elements"));
  }
  absl::Status AllowBroadcast(const at::Tensor& a, const at::Tensor& b) const {
    return Allow(at::infer_size(a.sizes(), b.sizes()));
  }
};

using Rule = std::function<absl::StatusOr<Tensors>(const Call&)>;

absl::StatusOr<Tensors> One(const absl::StatusOr<at::Tensor>& tensor) {
  if (!tensor.ok()) return tensor.status();
  return Tensors{*tensor};
}

// Operators on two tensors, with broadcasting.
Rule Binary(std::function<at::Tensor(const at::Tensor&, const at::Tensor&)> function) {
  return [function](const Call& call) -> absl::StatusOr<Tensors> {
    PRUNELAB_RETURN_IF_ERROR(call.Needs(2));
    PRUNELAB_RETURN_IF_ERROR(call.AllowBroadcast(call.in[0], call.in[1]));
    return Tensors{function(call.in[0], call.in[1])};
  };
}

Rule Unary(std::function<at::Tensor(const at::Tensor&)> function) {
  return [function](const Call& call) -> absl::StatusOr<Tensors> {
    PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
    return Tensors{function(call.in[0])};
  };
}

// Two or more tensors, one after the other.
Rule Variadic(std::function<at::Tensor(const at::Tensor&, const at::Tensor&)> function) {
  return [function](const Call& call) -> absl::StatusOr<Tensors> {
    PRUNELAB_RETURN_IF_ERROR(call.Needs(std::max<size_t>(call.in.size(), 1)));
    at::Tensor result = call.in[0];
    for (size_t k = 1; k < call.in.size(); ++k) {
      PRUNELAB_RETURN_IF_ERROR(call.AllowBroadcast(result, call.in[k]));
      result = function(result, call.in[k]);
    }
    return Tensors{result};
  };
}

bool IsInteger(const at::Tensor& tensor) { return c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true); }

// Division of integers by 0, and of the least by -1, would end the process.
absl::Status CheckDivisor(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(2));
  PRUNELAB_RETURN_IF_ERROR(call.AllowBroadcast(call.in[0], call.in[1]));
  if (!IsInteger(call.in[0]) || !IsInteger(call.in[1])) return absl::OkStatus();
  const at::Tensor divisor = call.in[1];
  const bool least = (call.in[0].to(at::kLong) < -std::numeric_limits<int32_t>::max()).any().item<bool>();
  if ((divisor == 0).any().item<bool>() || (least && (divisor == -1).any().item<bool>())) {
    return NodeRefused(call.node, "divides integers by 0, or out of their range");
  }
  return absl::OkStatus();
}

absl::StatusOr<Tensors> Divide(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(CheckDivisor(call));
  if (IsInteger(call.in[0])) return Tensors{at::div(call.in[0], call.in[1], "trunc")};
  return Tensors{at::div(call.in[0], call.in[1])};
}

absl::StatusOr<Tensors> Modulo(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(CheckDivisor(call));
  if (IntAttribute(call.node, "fmod", 0) != 0) return Tensors{at::fmod(call.in[0], call.in[1])};
  return Tensors{at::remainder(call.in[0], call.in[1])};
}

absl::StatusOr<Tensors> Constant(const Call& call) {
  const auto& attributes = call.node.attributes;
  const auto found = [&](const char* name) {
    const auto at = attributes.find(name);
    return at == attributes.end() ? nullptr : &at->second;
  };
  if (const OnnxAttribute* value = found("value"); value != nullptr && value->tensor.defined()) {
    return Tensors{value->tensor};
  }
  if (found("value_int") != nullptr)
    return Tensors{at::scalar_tensor(IntAttribute(call.node, "value_int", 0), at::kLong)};
  if (const OnnxAttribute* value = found("value_ints")) return Tensors{at::tensor(value->ints, at::kLong)};
  if (found("value_float") != nullptr) {
    return Tensors{at::scalar_tensor(FloatAttribute(call.node, "value_float", 0), at::kFloat)};
  }
  if (const OnnxAttribute* value = found("value_floats")) return Tensors{at::tensor(value->floats, at::kFloat)};
  return NodeRefused(call.node, "is a constant of text or of a sparse tensor, which are not read");
}

absl::StatusOr<Tensors> Cast(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
  const std::optional<at::ScalarType> type = TensorType(IntAttribute(call.node, "to", 0));
  if (!type) return NodeRefused(call.node, absl::StrCat("casts to the type ", IntAttribute(call.node, "to", 0)));
  return Tensors{call.in[0].to(*type)};
}

absl::StatusOr<Tensors> Shape(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
  return One(ShapeTensor(call.node, call.in[0].sizes().vec()));
}

absl::StatusOr<Tensors> Gather(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(2));
  const at::Tensor &data = call.in[0], &given = call.in[1];
  PRUNELAB_ASSIGN_OR_RETURN(const int axis, ResolveAxis(call.node, IntAttribute(call.node, "axis", 0), data.dim()));
  if (!IsInteger(given)) return NodeRefused(call.node, "its indices must be integers");
  std::vector<int64_t> sizes = data.sizes().vec();
  const int64_t size = sizes[axis];
  sizes.erase(sizes.begin() + axis);
  sizes.insert(sizes.begin() + axis, given.sizes().begin(), given.sizes().end());
  PRUNELAB_RETURN_IF_ERROR(call.Allow(sizes));
  const at::Tensor whole = given.to(at::kLong).flatten(), indices = at::where(whole < 0, whole + size, whole);
  return Tensors{data.index_select(axis, indices).reshape(sizes)};
}

absl::StatusOr<Tensors> Slice(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
  at::Tensor result = call.in[0];
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<SliceRule> rules,
                            ResolveSlices(call.graph, call.node, result.sizes().vec()));
  for (const SliceRule& rule : rules) {
    const at::Tensor indices = at::arange(rule.count, at::kLong) * rule.step + rule.start;
    result = result.index_select(rule.axis, indices);
  }
  return Tensors{result};
}

absl::StatusOr<Tensors> Split(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
  PRUNELAB_ASSIGN_OR_RETURN(const SplitRule rule, ResolveSplit(call.graph, call.node, call.in[0].sizes().vec()));
  return Tensors{at::split_with_sizes(call.in[0], rule.sizes, rule.axis)};
}

absl::StatusOr<Tensors> Concat(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(std::max<size_t>(call.in.size(), 1)));
  PRUNELAB_ASSIGN_OR_RETURN(const int axis,
                            ResolveAxis(call.node, IntAttribute(call.node, "axis", 0), call.in[0].dim()));
  return Tensors{at::cat(call.in, axis)};
}

absl::StatusOr<Tensors> Reshape(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes,
                            ReshapedSizes(call.graph, call.node, call.in[0].sizes().vec()));
  return Tensors{call.in[0].reshape(sizes)};
}

absl::StatusOr<Tensors> Flatten(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, FlattenedSizes(call.node, call.in[0].sizes().vec()));
  return Tensors{call.in[0].reshape(sizes)};
}

absl::StatusOr<Tensors> Transpose(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int> order, TransposedOrder(call.node, call.in[0].dim()));
  return Tensors{call.in[0].permute(std::vector<int64_t>(order.begin(), order.end())).contiguous()};
}

absl::StatusOr<Tensors> Unsqueeze(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int> axes, UnsqueezedAxes(call.graph, call.node, call.in[0].dim()));
  at::Tensor result = call.in[0];
  for (const int axis : axes) result = result.unsqueeze(axis);
  return Tensors{result};
}

absl::StatusOr<Tensors> Squeeze(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
  PRUNELAB_ASSIGN_OR_RETURN(std::vector<int> axes, SqueezedAxes(call.graph, call.node, call.in[0].dim()));
  if (axes.empty()) return Tensors{call.in[0].squeeze()};
  std::sort(axes.rbegin(), axes.rend());
  at::Tensor result = call.in[0];
  for (const int axis : axes) {
    if (result.size(axis) != 1) return NodeRefused(call.node, "removes a dimension that is not 1");
    result = result.squeeze(axis);
  }
  return Tensors{result};
}

absl::StatusOr<Tensors> ConstantOfShape(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, IntsOf(call.graph, call.node, "shape", 0, {}));
  PRUNELAB_RETURN_IF_ERROR(call.Allow(sizes));
  const auto value = call.node.attributes.find("value");
  if (value == call.node.attributes.end()) return Tensors{at::zeros(sizes, at::kFloat)};
  if (!value->second.tensor.defined() || value->second.tensor.numel() != 1) {
    return NodeRefused(call.node, "its value must be one number");
  }
  return Tensors{value->second.tensor.reshape({}).expand(sizes)};
}

absl::StatusOr<Tensors> Expand(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(2));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> asked, IntsOf(call.graph, call.node, "shape", 1, {}));
  const std::vector<int64_t> sizes = at::infer_size(call.in[0].sizes(), asked);
  PRUNELAB_RETURN_IF_ERROR(call.Allow(sizes));
  return Tensors{call.in[0].expand(sizes)};
}

absl::StatusOr<Tensors> Tile(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(2));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> repeats, IntsOf(call.graph, call.node, "repeats", 1, {}));
  std::vector<int64_t> sizes = call.in[0].sizes().vec();
  if (repeats.size() != sizes.size()) return NodeRefused(call.node, "needs one repeat for each dimension");
  for (size_t k = 0; k < sizes.size(); ++k) {
    PRUNELAB_ASSIGN_OR_RETURN(sizes[k], CountElements(call.node, {sizes[k], repeats[k]}));
  }
  PRUNELAB_RETURN_IF_ERROR(call.Allow(sizes));
  return Tensors{call.in[0].repeat(repeats)};
}

absl::StatusOr<Tensors> Range(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(3));
  double numbers[3];
  for (int k = 0; k < 3; ++k) {
    PRUNELAB_ASSIGN_OR_RETURN(numbers[k], NumberOf(call.graph, call.node, "", k, 0));
  }
  const double count = std::ceil((numbers[1] - numbers[0]) / numbers[2]);
  if (!(count < static_cast<double>(kMostElements))) return NodeRefused(call.node, "makes too many numbers");
  const at::Tensor steps = at::arange(std::max<int64_t>(0, static_cast<int64_t>(count)), at::kLong);
  return Tensors{(steps * call.in[2].reshape({}) + call.in[0].reshape({})).to(call.in[0].scalar_type())};
}

absl::StatusOr<Tensors> Where(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(3));
  PRUNELAB_RETURN_IF_ERROR(call.AllowBroadcast(call.in[0], call.in[1]));
  const std::vector<int64_t> two = at::infer_size(call.in[0].sizes(), call.in[1].sizes());
  PRUNELAB_RETURN_IF_ERROR(call.Allow(at::infer_size(two, call.in[2].sizes())));
  return Tensors{at::where(call.in[0].to(at::kBool), call.in[1], call.in[2])};
}

absl::StatusOr<Tensors> MatMul(const Call& call) {
  PRUNELAB_RETURN_IF_ERROR(call.Needs(2));
  if (call.in[0].dim() != 2 || call.in[1].dim() != 2) {
    return NodeRefused(call.node, "multiplies constants that are no matrices");
  }
  PRUNELAB_RETURN_IF_ERROR(call.Allow({call.in[0].size(0), call.in[0].size(1), call.in[1].size(1)}));
  return Tensors{at::matmul(call.in[0], call.in[1])};
}

// Reductions over axes, one after the other from the last.
Rule Reduction(std::function<at::Tensor(const at::Tensor&, int64_t)> function) {
  return [function](const Call& call) -> absl::StatusOr<Tensors> {
    PRUNELAB_RETURN_IF_ERROR(call.Needs(1));
    at::Tensor result = call.in[0];
    PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int> axes, ReducedAxes(call.graph, call.node, result.dim()));
    const bool keep = IntAttribute(call.node, "keepdims", 1) != 0;
    for (size_t k = axes.size(); k-- > 0;) {
      if (result.size(axes[k]) == 0) return NodeRefused(call.node, "reduces a dimension of 0");
      result = function(result, axes[k]);
      if (keep) result = result.unsqueeze(axes[k]);
    }
    return Tensors{result};
  };
}

at::Tensor Minimum(const at::Tensor& a, const at::Tensor& b) { return at::minimum(a, b); }
at::Tensor Maximum(const at::Tensor& a, const at::Tensor& b) { return at::maximum(a, b); }
at::Tensor Sum(const at::Tensor& a, const at::Tensor& b) { return a + b; }

const std::map<std::string, Rule>& Rules() {
  static const auto* const rules = new std::map<std::string, Rule>{
      {"Constant", Constant},
      {"Identity", Unary([](const at::Tensor& x) { return x; })},
      {"Cast", Cast},
      {"Shape", Shape},
      {"Size", Unary([](const at::Tensor& x) { return at::scalar_tensor(x.numel(), at::kLong); })},
      {"Gather", Gather},
      {"Slice", Slice},
      {"Split", Split},
      {"Concat", Concat},
      {"Reshape", Reshape},
      {"Flatten", Flatten},
      {"Transpose", Transpose},
      {"Unsqueeze", Unsqueeze},
      {"Squeeze", Squeeze},
      {"ConstantOfShape", ConstantOfShape},
      {"Expand", Expand},
      {"Tile", Tile},
      {"Range", Range},
      {"Where", Where},
      {"MatMul", MatMul},
      {"Add", Binary(Sum)},
      {"Sum", Variadic(Sum)},
      {"Sub", Binary([](const at::Tensor& a, const at::Tensor& b) { return at::sub(a, b); })},
      {"Mul", Binary([](const at::Tensor& a, const at::Tensor& b) { return a * b; })},
      {"Div", Divide},
      {"Mod", Modulo},
      {"Pow", Binary([](const at::Tensor& a, const at::Tensor& b) { return at::pow(a, b).to(a.scalar_type()); })},
      {"Equal", Binary([](const at::Tensor& a, const at::Tensor& b) { return at::eq(a, b); })},
      {"Less", Binary([](const at::Tensor& a, const at::Tensor& b) { return at::lt(a, b); })},
      {"LessOrEqual", Binary([](const at::Tensor& a, const at::Tensor& b) { return at::le(a, b); })},
      {"Greater", Binary([](const at::Tensor& a, const at::Tensor& b) { return at::gt(a, b); })},
      {"GreaterOrEqual", Binary([](const at::Tensor& a, const at::Tensor& b) { return at::ge(a, b); })},
      {"And", Binary([](const at::Tensor& a, const at::Tensor& b) { return at::logical_and(a, b); })},
      {"Or", Binary([](const at::Tensor& a, const at::Tensor& b) { return at::logical_or(a, b); })},
      {"Not", Unary([](const at::Tensor& x) { return at::logical_not(x); })},
      {"Min", Variadic(Minimum)},
      {"Max", Variadic(Maximum)},
      {"Neg", Unary([](const at::Tensor& x) { return at::neg(x); })},
      {"Abs", Unary([](const at::Tensor& x) { return at::abs(x); })},
      {"Sqrt", Unary([](const at::Tensor& x) { return at::sqrt(x); })},
      {"Exp", Unary([](const at::Tensor& x) { return at::exp(x); })},
      {"Reciprocal", Unary([](const at::Tensor& x) { return at::reciprocal(x); })},
      {"Floor", Unary([](const at::Tensor& x) { return at::floor(x); })},
      {"Ceil", Unary([](const at::Tensor& x) { return at::ceil(x); })},
      {"Round", Unary([](const at::Tensor& x) { return at::round(x); })},
      {"ReduceSum", Reduction([](const at::Tensor& x, int64_t axis) { return x.sum(axis).to(x.scalar_type()); })},
      {"ReduceMean", Reduction([](const at::Tensor& x, int64_t axis) { return x.mean(axis); })},
      {"ReduceProd", Reduction([](const at::Tensor& x, int64_t axis) { return x.prod(axis).to(x.scalar_type()); })},
      {"ReduceMax", Reduction([](const at::Tensor& x, int64_t axis) { return x.amax(axis); })},
      {"ReduceMin", Reduction([](const at::Tensor& x, int64_t axis) { return x.amin(axis); })},
  };
  return *rules;
}

}  // namespace

absl::StatusOr<at::Tensor> ShapeTensor(const OnnxNode& node, const std::vector<int64_t>& sizes) {
  const int64_t rank = static_cast<int64_t>(sizes.size());
  const auto bounded = [&](int64_t position) {
    return std::clamp(position < 0 ? position + rank : position, int64_t{0}, rank);
  };
  const int64_t start = bounded(std::max(IntAttribute(node, "start", 0), -rank));
  const int64_t end = bounded(std::max(IntAttribute(node, "end", rank), -rank - 1));
  return at::tensor(std::vector<int64_t>(sizes.begin() + start, sizes.begin() + std::max(start, end)), at::kLong);
}

int64_t ElementBudget(const OnnxGraph& graph) {
  int64_t budget = 2 * kMostElements;
  for (const OnnxValue& value : graph.values) {
    if (value.constant.defined()) budget += 4 * value.constant.numel();
  }
  return budget;
}

bool Folder::CanFold(const OnnxGraph& graph, const OnnxNode& node) {
  for (const int input : node.inputs) {
    if (input >= 0 && !graph.IsConstant(input)) return false;
  }
  return Rules().count(node.op) > 0;
}

absl::Status Folder::Fold(OnnxGraph& graph, int index) {
  const OnnxNode& node = graph.nodes[index];
  if (budget_ < 0) return NodeRefused(node, kTooMany);
  Call call = {graph, node, {}};
  for (const int input : node.inputs) call.in.push_back(input < 0 ? at::Tensor() : graph.Constant(input));
  absl::StatusOr<Tensors> results = Tensors();
  try {
    results = Rules().at(node.op)(call);
  } catch (const std::exception& error) {  // LibTorch's reason, without the places in its code
    const std::string text = error.what();
    return NodeRefused(node, absl::StrCat("cannot be computed: ", text.substr(0, text.find('\n'))));
  }
  PRUNELAB_RETURN_IF_ERROR(results.status());
  for (size_t k = 0; k < node.outputs.size(); ++k) {
    if (node.outputs[k] < 0) continue;
    if (k >= results->size()) return NodeRefused(node, "has too many outputs");
    budget_ -= (*results)[k].numel();
    if (budget_ < 0) return NodeRefused(node, kTooMany);
    graph.values[node.outputs[k]].constant = (*results)[k];
  }
  return absl::OkStatus();
}

void Folder::FoldAll(OnnxGraph& graph) {
  for (int i = 0; i < static_cast<int>(graph.nodes.size()); ++i) {
    if (CanFold(graph, graph.nodes[i])) Fold(graph, i).IgnoreError();
  }
}

}  // namespace prunelab
