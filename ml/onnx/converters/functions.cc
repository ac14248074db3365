// Functions of each number by itself, softmax and dropout.
#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/converters/constants.h"
#include "ml/onnx/converters/tables.h"
#include "ml/onnx/shape_rules.h"

namespace prunelab {
namespace {

absl::Status Finish(Converter& converter, const OnnxNode& node, const absl::StatusOr<Live>& result) {
  PRUNELAB_RETURN_IF_ERROR(result.status());
  converter.SetOutput(node, *result);
  return absl::OkStatus();
}

absl::Status EmitFunction(Converter& converter, const OnnxNode& node, const prunelab::Elementwise& function) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  prunelab::Node op;
  *op.mutable_elementwise() = function;
  return Finish(converter, node, converter.EmitOn(node, op, live));
}

template <prunelab::Elementwise::Function function>
absl::Status ConvertElementwise(Converter& converter, const OnnxNode& node) {
  prunelab::Elementwise elementwise;
  elementwise.set_function(function);
  return EmitFunction(converter, node, elementwise);
}

absl::Status ConvertRelu(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  prunelab::Node op;
  op.mutable_relu();
  return Finish(converter, node, converter.EmitOn(node, op, live));
}

// The values between `low` and `high`, either of which may be infinite.
absl::Status EmitClip(Converter& converter, const OnnxNode& node, const Live& live, double low, double high) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  low = std::max(low, -kLargest);
  high = std::min(high, kLargest);
  prunelab::Node op;
  if (low == -kLargest && high == kLargest) return Finish(converter, node, live);
  if (low == 0 && high == kLargest) {
    op.mutable_relu();
    return Finish(converter, node, converter.EmitOn(node, op, live));
  }
  op.mutable_elementwise()->set_function(prunelab::Elementwise::CLIP);
  op.mutable_elementwise()->set_low(low);
  op.mutable_elementwise()->set_high(high);
  return Finish(converter, node, converter.EmitOn(node, op, live));
}

absl::Status ConvertClip(Converter& converter, const OnnxNode& node) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const double low, NumberOf(converter.graph(), node, "min", 1, -kInfinity));
  PRUNELAB_ASSIGN_OR_RETURN(const double high, NumberOf(converter.graph(), node, "max", 2, kInfinity));
  return EmitClip(converter, node, live, low, high);
}

// The larger, or the smaller, of a value and one number.
template <bool larger>
absl::Status ConvertBound(Converter& converter, const OnnxNode& node) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const size_t k = converter.IsConstant(node, 0) ? 0 : 1;
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor bound, converter.Constant(node, k));
  if (node.inputs.size() != 2 || bound.numel() != 1) return NodeRefused(node, "only a value and one number are known");
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 1 - k));
  const double number = bound.to(at::kDouble).item<double>();
  return EmitClip(converter, node, live, larger ? number : -kInfinity, larger ? kInfinity : number);
}

absl::Status ConvertLeakyRelu(Converter& converter, const OnnxNode& node) {
  prunelab::Elementwise elementwise;
  elementwise.set_function(prunelab::Elementwise::LEAKY_RELU);
  elementwise.set_slope(FloatAttribute(node, "alpha", 0.01));
  return EmitFunction(converter, node, elementwise);
}

// clip(alpha x + beta, 0, 1); PyTorch's has alpha 1 / 6, of which files have a rounded value.
absl::Status ConvertHardSigmoid(Converter& converter, const OnnxNode& node) {
  const double alpha = FloatAttribute(node, "alpha", 0.2), beta = FloatAttribute(node, "beta", 0.5);
  if (std::abs(alpha - 1.0 / 6) < 1e-6 && beta == 0.5) {
    return ConvertElementwise<prunelab::Elementwise::HARD_SIGMOID>(converter, node);
  }
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const Live scaled, EmitScale(converter, node, live, at::full({1}, alpha, at::kDouble),
                                                         at::full({1}, beta, at::kDouble), {}));
  return EmitClip(converter, node, scaled, 0, 1);
}

absl::Status ConvertGelu(Converter& converter, const OnnxNode& node) {
  const std::string approximation = TextAttribute(node, "approximate", "none");
  if (approximation == "tanh") return ConvertElementwise<prunelab::Elementwise::GELU_TANH>(converter, node);
  if (approximation == "none") return ConvertElementwise<prunelab::Elementwise::GELU>(converter, node);
  return NodeRefused(node, absl::StrCat("approximates by ", Quoted(approximation), "; must be \"none\" or \"tanh\""));
}

absl::Status ConvertPRelu(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor slope, converter.Constant(node, 1));
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor on_axes, OnAxes(converter, node, slope, live));
  if (on_axes.size(1) != 1 || on_axes.size(2) != 1) return NodeRefused(node, "its slopes must be one by channel");
  prunelab::Node op;
  op.mutable_prelu();
  const bool shared = on_axes.size(0) == 1 && converter.shape(live).channels != 1;
  if (shared) op.mutable_prelu()->set_shared(true);
  return Finish(converter, node,
                converter.EmitOn(node, op, live, {{"weight", on_axes.reshape({-1})}}, {OnnxGraph::Input(node, 1)}));
}

absl::Status ConvertSoftmax(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(Live live, converter.Input(node, 0));
  const bool by_axis = converter.graph().opset >= 13;
  PRUNELAB_ASSIGN_OR_RETURN(const int axis, ResolveAxis(node, IntAttribute(node, "axis", by_axis ? -1 : 1),
                                                        static_cast<int64_t>(live.view.size())));
  if (live.view.size() == 2) {
    PRUNELAB_ASSIGN_OR_RETURN(live, converter.AsFlat(node, live));
  }
  bool alone = IsWhole(live.view[axis], Axis::kChannels, converter.shape(live).channels);
  for (size_t k = axis + 1; k < live.view.size() && !by_axis; ++k) alone = alone && live.view[k].empty();
  if (!alone) return NodeRefused(node, "is known over all channels alone");
  prunelab::Node op;
  op.mutable_softmax();
  return Finish(converter, node, converter.EmitOn(node, op, live));
}

absl::Status ConvertDropout(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const double probability, NumberOf(converter.graph(), node, "ratio", 1, 0.5));
  if (probability == 0) return Finish(converter, node, live);
  prunelab::Node op;
  op.mutable_dropout()->set_probability(probability);
  return Finish(converter, node, converter.EmitOn(node, op, live));
}

}  // namespace

void AddFunctions(ConvertTable& table) {
  using prunelab::Elementwise;
  table["Relu"] = ConvertRelu;
  table["Clip"] = ConvertClip;
  table["Max"] = ConvertBound<true>;
  table["Min"] = ConvertBound<false>;
  table["LeakyRelu"] = ConvertLeakyRelu;
  table["HardSigmoid"] = ConvertHardSigmoid;
  table["Sigmoid"] = ConvertElementwise<Elementwise::SIGMOID>;
  table["HardSwish"] = ConvertElementwise<Elementwise::HARD_SWISH>;
  table["Tanh"] = ConvertElementwise<Elementwise::TANH>;
  table["Gelu"] = ConvertGelu;
  table["PRelu"] = ConvertPRelu;
  table["Softmax"] = ConvertSoftmax;
  table["Dropout"] = ConvertDropout;
  // What patterns (patterns.h) make of several nodes; ONNX has Swish from opset 24 on.
  table["Swish"] = ConvertElementwise<Elementwise::SILU>;
}

}  // namespace prunelab
