// Layers that multiply by matrices: Gemm and MatMul, as linear layers of features or 1x1 convolutions of maps.
#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/converters/tables.h"

namespace prunelab {
namespace {

// `weight` [outputs, inputs]; an undefined bias is none.
absl::StatusOr<int> EmitLinear(Converter& converter, const OnnxNode& node, int input, const at::Tensor& weight,
                               const at::Tensor& bias, const std::vector<int>& values) {
  prunelab::Node op;
  op.mutable_linear()->set_out_features(weight.size(0));
  op.mutable_linear()->set_bias(bias.defined());
  std::map<std::string, at::Tensor> tensors = {{"weight", weight}};
  if (bias.defined()) tensors["bias"] = bias;
  return converter.Emit(node, op, {input}, std::move(tensors), values);
}

absl::Status CheckMatrix(const OnnxNode& node, const at::Tensor& matrix) {
  if (matrix.dim() == 2 && matrix.is_floating_point() && matrix.numel() > 0) return absl::OkStatus();
  return NodeRefused(node, absl::StrCat("is multiplied by a tensor of the sizes ", SizesText(matrix.sizes().vec()),
                                        "; must be a matrix of floating numbers"));
}

// The bias of a Gemm, by feature.
absl::StatusOr<at::Tensor> BiasOf(Converter& converter, const OnnxNode& node, int64_t features) {
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor given, converter.Constant(node, 2));
  const bool fits = given.is_floating_point() && (given.numel() == 1 || given.numel() == features) &&
                    (given.dim() == 0 || given.size(-1) == given.numel());
  if (!fits) return NodeRefused(node, absl::StrCat("its bias is ", SizesText(given.sizes().vec())));
  const double beta = FloatAttribute(node, "beta", 1);
  const at::Tensor bias = given.reshape({-1}).expand({features});
  return beta == 1 ? bias : bias * beta;
}

absl::Status ConvertGemm(Converter& converter, const OnnxNode& node) {
  if (IntAttribute(node, "transA", 0) != 0) return NodeRefused(node, "transA: multiplies images by each other");
  PRUNELAB_ASSIGN_OR_RETURN(at::Tensor matrix, converter.Constant(node, 1));
  PRUNELAB_RETURN_IF_ERROR(CheckMatrix(node, matrix));
  PRUNELAB_ASSIGN_OR_RETURN(const int input, converter.FlatInput(node, 0));
  at::Tensor weight = IntAttribute(node, "transB", 0) != 0 ? matrix : matrix.t();
  const double alpha = FloatAttribute(node, "alpha", 1);
  if (alpha != 1) weight = weight * alpha;
  at::Tensor bias;
  std::vector<int> values = {OnnxGraph::Input(node, 1)};
  if (HasInput(node, 2)) {
    PRUNELAB_ASSIGN_OR_RETURN(bias, BiasOf(converter, node, weight.size(0)));
    values.push_back(OnnxGraph::Input(node, 2));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const int built, EmitLinear(converter, node, input, weight, bias, values));
  converter.SetOutput(node, built);
  return absl::OkStatus();
}

// The last dimension times the matrix. A map's channels are last where it was transposed.
absl::Status ConvertMatMul(Converter& converter, const OnnxNode& node) {
  if (converter.IsConstant(node, 0)) return NodeRefused(node, "a constant times what depends on the images");
  if (!converter.IsConstant(node, 1)) {
    return NodeRefused(node, "multiplies two values that depend on the images, as attention does");
  }
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor matrix, converter.Constant(node, 1));
  PRUNELAB_RETURN_IF_ERROR(CheckMatrix(node, matrix));
  const std::vector<int> values = {OnnxGraph::Input(node, 1)};
  PRUNELAB_ASSIGN_OR_RETURN(Live live, converter.Input(node, 0));
  if (live.view.size() == 2) {
    PRUNELAB_ASSIGN_OR_RETURN(const int input, converter.FlatInput(node, 0));
    PRUNELAB_ASSIGN_OR_RETURN(const int built, EmitLinear(converter, node, input, matrix.t(), {}, values));
    converter.SetOutput(node, built);
    return absl::OkStatus();
  }
  if (!live.view.empty() && IsOnly(live.view.back(), Axis::kChannels)) {
    PRUNELAB_ASSIGN_OR_RETURN(live, converter.Selected(node, live, -1, {}));
  }
  if (live.view.empty() || !IsWhole(live.view.back(), Axis::kChannels, converter.shape(live).channels)) {
    return NodeRefused(node, "multiplies another dimension than the channels");
  }
  const at::Tensor weight = matrix.t();
  absl::StatusOr<int> built = -1;
  if (converter.shape(live).flat) {
    built = EmitLinear(converter, node, live.node, weight, {}, values);
  } else {
    prunelab::Node op;
    op.mutable_conv2d()->set_out_channels(weight.size(0));
    op.mutable_conv2d()->set_kernel_height(1);
    op.mutable_conv2d()->set_kernel_width(1);
    built = converter.Emit(node, op, {live.node}, {{"weight", weight.unsqueeze(-1).unsqueeze(-1)}}, values);
  }
  PRUNELAB_RETURN_IF_ERROR(built.status());
  live.node = *built;
  live.view.back().clear();
  if (weight.size(0) > 1) live.view.back().push_back({Axis::kChannels, weight.size(0), 1});
  converter.SetOutput(node, live);
  return absl::OkStatus();
}

}  // namespace

void AddLayers(ConvertTable& table) {
  table["Gemm"] = ConvertGemm;
  table["MatMul"] = ConvertMatMul;
}

}  // namespace prunelab
