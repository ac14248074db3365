// Sums, differences, products and quotients: of two values that depend on the images, or of one and a constant.
#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/converters/constants.h"
#include "ml/onnx/converters/tables.h"

namespace prunelab {
namespace {

enum class Function { kAdd, kSubtract, kMultiply, kDivide };

// Two values whose nodes' values lie alike, so that the nodes themselves can be added.
struct Aligned {
  int first = -1, second = -1;
  View view;
};

// The values with the same number of dimensions, ones in front.
void PadTo(View& view, size_t rank) {
  while (view.size() < rank) view.insert(view.begin(), Dimension());
}

// How two views lie on the same axes: the view of the result; nullopt where they differ.
std::optional<View> Together(View a, View b) {
  PadTo(a, b.size());
  PadTo(b, a.size());
  for (size_t k = 0; k < a.size(); ++k) {
    if (!a[k].empty() && !b[k].empty() && !(a[k] == b[k])) return std::nullopt;
    if (a[k].empty()) a[k] = b[k];
  }
  return a;
}

// A flat value that meets maps becomes maps of one pixel.
absl::StatusOr<int> AsMapNode(Converter& converter, const OnnxNode& node, const Live& live, bool flat) {
  if (flat || !converter.shape(live).flat) return live.node;
  prunelab::Node op;
  op.mutable_unflatten();
  return converter.Emit(node, op, {live.node});
}

absl::StatusOr<Aligned> Align(Converter& converter, const OnnxNode& node, Live a, Live b) {
  if (a.view.size() == 2 && b.view.size() == 2) {
    PRUNELAB_ASSIGN_OR_RETURN(a, converter.AsFlat(node, a));
    PRUNELAB_ASSIGN_OR_RETURN(b, converter.AsFlat(node, b));
  }
  std::optional<View> view = Together(a.view, b.view);
  if (!view) {
    PRUNELAB_ASSIGN_OR_RETURN(a, converter.AsIs(node, a));
    PRUNELAB_ASSIGN_OR_RETURN(b, converter.AsIs(node, b));
    view = Together(a.view, b.view);
  }
  if (!view) {
    return NodeRefused(node, absl::StrCat("its inputs, of the sizes ", SizesText(SizesOf(a.view)), " and ",
                                          SizesText(SizesOf(b.view)), ", do not lie alike"));
  }
  Aligned aligned;
  const bool flat = converter.shape(a).flat && converter.shape(b).flat;
  PRUNELAB_ASSIGN_OR_RETURN(aligned.first, AsMapNode(converter, node, a, flat));
  PRUNELAB_ASSIGN_OR_RETURN(aligned.second, AsMapNode(converter, node, b, flat));
  aligned.view = *std::move(view);
  return aligned;
}

absl::StatusOr<int> EmitArithmetic(Converter& converter, const OnnxNode& node, Arithmetic::Function function, int a,
                                   int b) {
  prunelab::Node op;
  op.mutable_arithmetic()->set_function(function);
  return converter.Emit(node, op, {a, b});
}

// a + b, also where one of them has one channel, which sums of the network do not repeat: a - (-b).
absl::StatusOr<int> EmitSum(Converter& converter, const OnnxNode& node, int a, int b) {
  const int64_t first = converter.shape({a, {}}).channels, second = converter.shape({b, {}}).channels;
  if (first == second) {
    prunelab::Node op;
    op.mutable_add();
    return converter.Emit(node, op, {a, b});
  }
  PRUNELAB_ASSIGN_OR_RETURN(const Live minus, EmitScale(converter, node, {b, {}}, -at::ones({1}), {}, {}));
  return EmitArithmetic(converter, node, Arithmetic::SUBTRACT, a, minus.node);
}

absl::StatusOr<Live> OfTwo(Converter& converter, const OnnxNode& node, Function function, const Live& a,
                           const Live& b) {
  PRUNELAB_ASSIGN_OR_RETURN(const Aligned aligned, Align(converter, node, a, b));
  absl::StatusOr<int> built = -1;
  switch (function) {
    case Function::kAdd:
      built = EmitSum(converter, node, aligned.first, aligned.second);
      break;
    case Function::kSubtract:
      built = EmitArithmetic(converter, node, Arithmetic::SUBTRACT, aligned.first, aligned.second);
      break;
    case Function::kMultiply:
      built = EmitArithmetic(converter, node, Arithmetic::MULTIPLY, aligned.first, aligned.second);
      break;
    case Function::kDivide:
      built = EmitArithmetic(converter, node, Arithmetic::DIVIDE, aligned.first, aligned.second);
      break;
  }
  PRUNELAB_RETURN_IF_ERROR(built.status());
  return Live{*built, aligned.view};
}

// With a picture: a constant that differs from pixel to pixel.
absl::StatusOr<Live> WithPicture(Converter& converter, const OnnxNode& node, Function function, const Live& live,
                                 const at::Tensor& picture, int value, bool constant_first) {
  const NodeShape in = converter.shape(live);
  const at::Tensor whole = picture.expand({in.channels, picture.size(1), picture.size(2)});
  PRUNELAB_ASSIGN_OR_RETURN(const int built, EmitConstant(converter, node, whole, value));
  const Live constant = {built, live.view};
  return constant_first ? OfTwo(converter, node, function, constant, live)
                        : OfTwo(converter, node, function, live, constant);
}

absl::StatusOr<Live> WithConstant(Converter& converter, const OnnxNode& node, Function function, const Live& live,
                                  size_t k) {
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor constant, converter.Constant(node, k));
  const int value = OnnxGraph::Input(node, k);
  const bool first = k == 0;
  if (!constant.is_floating_point()) return NodeRefused(node, "meets a constant of integers");
  if (!FitsInto(constant, live)) {  // the value is repeated to the constant's sizes
    PRUNELAB_ASSIGN_OR_RETURN(const Live other, ConstantAsLive(converter, node, constant, value));
    return first ? OfTwo(converter, node, function, other, live) : OfTwo(converter, node, function, live, other);
  }
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor picture, OnAxes(converter, node, constant, live));
  const bool by_channel = picture.size(1) == 1 && picture.size(2) == 1;
  if (!by_channel || (function == Function::kDivide && first)) {
    return WithPicture(converter, node, function, live, picture, value, first);
  }
  const at::Tensor numbers = picture.reshape({-1});
  const std::vector<int> values = constant.numel() > 1 ? std::vector<int>{value} : std::vector<int>();
  switch (function) {
    case Function::kAdd:
      return EmitScale(converter, node, live, {}, numbers, values);
    case Function::kSubtract:
      if (first) return EmitScale(converter, node, live, -at::ones_like(numbers), numbers, values);
      return EmitScale(converter, node, live, {}, -numbers, values);
    case Function::kMultiply:
      return EmitScale(converter, node, live, numbers, {}, values);
    case Function::kDivide:
      return EmitScale(converter, node, live, 1 / numbers.to(at::kDouble), {}, values);
  }
  return NodeRefused(node, "no such function");
}

template <Function function>
absl::Status ConvertBinary(Converter& converter, const OnnxNode& node) {
  const bool first = converter.IsConstant(node, 0), second = converter.IsConstant(node, 1);
  if (first || second) {
    PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, first ? 1 : 0));
    PRUNELAB_ASSIGN_OR_RETURN(const Live result, WithConstant(converter, node, function, live, first ? 0 : 1));
    converter.SetOutput(node, result);
    return absl::OkStatus();
  }
  PRUNELAB_ASSIGN_OR_RETURN(const Live a, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const Live b, converter.Input(node, 1));
  PRUNELAB_ASSIGN_OR_RETURN(const Live result, OfTwo(converter, node, function, a, b));
  converter.SetOutput(node, result);
  return absl::OkStatus();
}

// The inputs that depend on the images first, in one sum where their shapes are the same; then the constants.
absl::Status ConvertSum(Converter& converter, const OnnxNode& node) {
  std::vector<Live> live;
  std::vector<size_t> constants;
  for (size_t k = 0; k < node.inputs.size(); ++k) {
    if (converter.IsConstant(node, k)) {
      constants.push_back(k);
      continue;
    }
    PRUNELAB_ASSIGN_OR_RETURN(const Live input, converter.Input(node, k));
    live.push_back(input);
  }
  if (live.empty()) return NodeRefused(node, "does not depend on the images");
  Live sum = live[0];
  const bool alike = std::all_of(live.begin(), live.end(), [&](const Live& one) {
    return one.view == sum.view && converter.shape(one).flat == converter.shape(sum).flat;
  });
  if (alike && live.size() > 1) {
    prunelab::Node op;
    op.mutable_add();
    std::vector<int> inputs;
    for (const Live& one : live) inputs.push_back(one.node);
    PRUNELAB_ASSIGN_OR_RETURN(sum.node, converter.Emit(node, op, inputs));
  }
  for (size_t k = 1; k < live.size() && !alike; ++k) {
    PRUNELAB_ASSIGN_OR_RETURN(sum, OfTwo(converter, node, Function::kAdd, sum, live[k]));
  }
  for (const size_t k : constants) {
    PRUNELAB_ASSIGN_OR_RETURN(sum, WithConstant(converter, node, Function::kAdd, sum, k));
  }
  converter.SetOutput(node, sum);
  return absl::OkStatus();
}

absl::Status ConvertNeg(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const Live result, EmitScale(converter, node, live, -at::ones({1}), {}, {}));
  converter.SetOutput(node, result);
  return absl::OkStatus();
}

// Squares alone.
absl::Status ConvertPow(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor exponent, converter.Constant(node, 1));
  if (exponent.numel() != 1 || exponent.to(at::kDouble).item<double>() != 2) {
    return NodeRefused(node, "only squares are known");
  }
  PRUNELAB_ASSIGN_OR_RETURN(const Live result, OfTwo(converter, node, Function::kMultiply, live, live));
  converter.SetOutput(node, result);
  return absl::OkStatus();
}

}  // namespace

void AddArithmetic(ConvertTable& table) {
  table["Add"] = ConvertBinary<Function::kAdd>;
  table["Sub"] = ConvertBinary<Function::kSubtract>;
  table["Mul"] = ConvertBinary<Function::kMultiply>;
  table["Div"] = ConvertBinary<Function::kDivide>;
  table["Sum"] = ConvertSum;
  table["Neg"] = ConvertNeg;
  table["Pow"] = ConvertPow;
}

}  // namespace prunelab
