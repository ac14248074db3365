// Convolutions and pools, which look at windows of maps.
#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/converters/tables.h"

namespace prunelab {
namespace {

// A window of two dimensions; of each pair the first is for rows.
struct Window {
  std::vector<int64_t> kernel, strides, dilations, pads;  // pads: top, left, bottom, right
};

absl::Status CheckEach(const OnnxNode& node, const char* name, const std::vector<int64_t>& values, size_t count,
                       int64_t least) {
  constexpr int64_t kMost = 1 << 20;
  const bool fits = values.size() == count &&
                    std::all_of(values.begin(), values.end(), [&](int64_t v) { return v >= least && v <= kMost; });
  if (fits) return absl::OkStatus();
  return NodeRefused(node, absl::StrCat(name, " is ", SizesText(values), "; must be ", count, " numbers from ", least,
                                        " to ", kMost, ", for rows and columns"));
}

// SAME_UPPER and SAME_LOWER: pads with which there is an output for every stride.
void PadToSame(const NodeShape& in, bool upper, Window& window) {
  const int64_t sizes[] = {in.height, in.width};
  for (int d = 0; d < 2; ++d) {
    const int64_t out = (sizes[d] + window.strides[d] - 1) / window.strides[d];
    const int64_t reach = (window.kernel[d] - 1) * window.dilations[d] + 1;
    const int64_t all = std::max<int64_t>(0, (out - 1) * window.strides[d] + reach - sizes[d]);
    const int64_t less = all / 2;
    window.pads[d] = upper ? less : all - less;
    window.pads[d + 2] = all - window.pads[d];
  }
}

absl::StatusOr<Window> ReadWindow(const OnnxNode& node, std::vector<int64_t> kernel, const NodeShape& in) {
  Window window;
  window.kernel = IntsAttribute(node, "kernel_shape", kernel);
  window.strides = IntsAttribute(node, "strides", {1, 1});
  window.dilations = IntsAttribute(node, "dilations", {1, 1});
  window.pads = IntsAttribute(node, "pads", {0, 0, 0, 0});
  PRUNELAB_RETURN_IF_ERROR(CheckEach(node, "kernel_shape", window.kernel, 2, 1));
  PRUNELAB_RETURN_IF_ERROR(CheckEach(node, "strides", window.strides, 2, 1));
  PRUNELAB_RETURN_IF_ERROR(CheckEach(node, "dilations", window.dilations, 2, 1));
  PRUNELAB_RETURN_IF_ERROR(CheckEach(node, "pads", window.pads, 4, 0));
  if (!kernel.empty() && window.kernel != kernel) {
    return NodeRefused(node, absl::StrCat("kernel_shape is ", SizesText(window.kernel), ", but the weights are for ",
                                          SizesText(kernel)));
  }
  const std::string automatic = TextAttribute(node, "auto_pad", "NOTSET");
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    PadToSame(in, automatic == "SAME_UPPER", window);
  } else if (automatic == "VALID") {
    window.pads = {0, 0, 0, 0};
  } else if (automatic != "NOTSET" && !automatic.empty()) {
    return NodeRefused(node, absl::StrCat("auto_pad is ", Quoted(automatic)));
  }
  return window;
}

bool AllEqual(const std::vector<int64_t>& values) {
  return std::all_of(values.begin(), values.end(), [&](int64_t value) { return value == values[0]; });
}

// The fields that convolutions and pools share.
template <typename Message>
void SetStrideAndPads(const Window& window, Message* message) {
  message->set_stride(window.strides[0]);
  if (!AllEqual(window.strides)) message->set_stride_width(window.strides[1]);
  if (AllEqual(window.pads)) {
    message->set_padding(window.pads[0]);
  } else {
    for (const int64_t pad : window.pads) message->add_pads(pad);
  }
}

template <typename Message>
void SetDilation(const Window& window, Message* message) {
  message->set_dilation(window.dilations[0]);
  if (!AllEqual(window.dilations)) message->set_dilation_width(window.dilations[1]);
}

// A convolution's weights and bias, and the values that they are.
struct Weights {
  std::map<std::string, at::Tensor> tensors;
  std::vector<int> values;
};

absl::StatusOr<Weights> ReadWeights(Converter& converter, const OnnxNode& node) {
  Weights weights;
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor weight, converter.Constant(node, 1));
  if (weight.dim() != 4 || !weight.is_floating_point() || weight.numel() == 0) {
    return NodeRefused(node, absl::StrCat("its weights are ", SizesText(weight.sizes().vec()),
                                          "; must be floating numbers of four dimensions: only images of two "
                                          "dimensions are known"));
  }
  weights.tensors["weight"] = weight;
  weights.values.push_back(OnnxGraph::Input(node, 1));
  if (!HasInput(node, 2)) return weights;
  PRUNELAB_ASSIGN_OR_RETURN(weights.tensors["bias"], converter.Constant(node, 2));
  weights.values.push_back(OnnxGraph::Input(node, 2));
  return weights;
}

absl::Status ConvertConv(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(Weights weights, ReadWeights(converter, node));
  PRUNELAB_ASSIGN_OR_RETURN(const int input, converter.MapInput(node, 0));
  const at::Tensor weight = weights.tensors["weight"];
  PRUNELAB_ASSIGN_OR_RETURN(const Window window,
                            ReadWindow(node, {weight.size(2), weight.size(3)}, converter.shape({input, {}})));
  prunelab::Node op;
  Conv2d* conv = op.mutable_conv2d();
  conv->set_out_channels(weight.size(0));
  conv->set_kernel_height(window.kernel[0]);
  conv->set_kernel_width(window.kernel[1]);
  SetStrideAndPads(window, conv);
  SetDilation(window, conv);
  conv->set_groups(IntAttribute(node, "group", 1));
  conv->set_bias(weights.tensors.count("bias") > 0);
  PRUNELAB_ASSIGN_OR_RETURN(const int built,
                            converter.Emit(node, op, {input}, std::move(weights.tensors), weights.values));
  converter.SetOutput(node, built);
  return absl::OkStatus();
}

// What ends later than it begins earlier is cut by the same at both sides, and padded at the end.
absl::Status SetCut(const OnnxNode& node, const Window& window, ConvTranspose2d* conv) {
  const std::vector<int64_t> added = IntsAttribute(node, "output_padding", {0, 0});
  PRUNELAB_RETURN_IF_ERROR(CheckEach(node, "output_padding", added, 2, 0));
  int64_t padding[2], output_padding[2];
  for (int d = 0; d < 2; ++d) {
    padding[d] = window.pads[d];
    output_padding[d] = added[d] + window.pads[d] - window.pads[d + 2];
    if (output_padding[d] < 0) {
      return NodeRefused(node, absl::StrCat("pads is ", SizesText(window.pads),
                                            "; must not cut off more at the end than at the begin"));
    }
  }
  conv->set_padding(padding[0]);
  if (padding[1] != padding[0]) conv->set_padding_width(padding[1]);
  if (output_padding[0] != 0) conv->set_output_padding(output_padding[0]);
  if (output_padding[1] != output_padding[0]) conv->set_output_padding_width(output_padding[1]);
  return absl::OkStatus();
}

absl::Status ConvertConvTranspose(Converter& converter, const OnnxNode& node) {
  const std::string automatic = TextAttribute(node, "auto_pad", "NOTSET");
  if (HasAttribute(node, "output_shape") || automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    return NodeRefused(node, "output_shape and auto_pad are not known; give pads and output_padding");
  }
  PRUNELAB_ASSIGN_OR_RETURN(Weights weights, ReadWeights(converter, node));
  PRUNELAB_ASSIGN_OR_RETURN(const int input, converter.MapInput(node, 0));
  const at::Tensor weight = weights.tensors["weight"];
  PRUNELAB_ASSIGN_OR_RETURN(const Window window,
                            ReadWindow(node, {weight.size(2), weight.size(3)}, converter.shape({input, {}})));
  const int64_t groups = IntAttribute(node, "group", 1);
  constexpr int64_t kMost = 1 << 20;
  if (groups < 1 || groups > kMost || weight.size(1) > kMost)
    return NodeRefused(node, absl::StrCat("group is ", groups));
  prunelab::Node op;
  ConvTranspose2d* conv = op.mutable_conv_transpose2d();
  conv->set_out_channels(weight.size(1) * groups);
  conv->set_kernel_height(window.kernel[0]);
  conv->set_kernel_width(window.kernel[1]);
  conv->set_stride(window.strides[0]);
  if (!AllEqual(window.strides)) conv->set_stride_width(window.strides[1]);
  SetDilation(window, conv);
  PRUNELAB_RETURN_IF_ERROR(SetCut(node, window, conv));
  conv->set_groups(groups);
  conv->set_bias(weights.tensors.count("bias") > 0);
  PRUNELAB_ASSIGN_OR_RETURN(const int built,
                            converter.Emit(node, op, {input}, std::move(weights.tensors), weights.values));
  converter.SetOutput(node, built);
  return absl::OkStatus();
}

template <typename Pool>
void SetPool(const OnnxNode& node, const Window& window, Pool* pool) {
  pool->set_kernel(window.kernel[0]);
  if (!AllEqual(window.kernel)) pool->set_kernel_width(window.kernel[1]);
  SetStrideAndPads(window, pool);
  if (IntAttribute(node, "ceil_mode", 0) != 0) pool->set_ceil_mode(true);
}

// Whether each window is one pixel and each pixel has one, as where an adaptive pool has the size that it makes.
bool PassesOn(const Window& window) {
  const std::vector<int64_t> ones = {1, 1}, none = {0, 0, 0, 0};
  return window.kernel == ones && window.strides == ones && window.pads == none;
}

absl::Status ConvertMaxPool(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const int input, converter.MapInput(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const Window window, ReadWindow(node, {}, converter.shape({input, {}})));
  if (PassesOn(window)) {
    converter.SetOutput(node, input);
    return absl::OkStatus();
  }
  if (!AllEqual(window.dilations)) return NodeRefused(node, "its dilations must be the same for rows and columns");
  prunelab::Node op;
  SetPool(node, window, op.mutable_max_pool2d());
  if (window.dilations[0] != 1) op.mutable_max_pool2d()->set_dilation(window.dilations[0]);
  PRUNELAB_ASSIGN_OR_RETURN(const int built, converter.Emit(node, op, {input}));
  converter.SetOutput(node, built);
  return absl::OkStatus();
}

absl::Status ConvertAveragePool(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const int input, converter.MapInput(node, 0));
  const NodeShape in = converter.shape({input, {}});
  PRUNELAB_ASSIGN_OR_RETURN(const Window window, ReadWindow(node, {}, in));
  if (PassesOn(window)) {
    converter.SetOutput(node, input);
    return absl::OkStatus();
  }
  if (window.dilations != std::vector<int64_t>{1, 1}) return NodeRefused(node, "dilations must be 1");
  const bool padded = window.pads != std::vector<int64_t>{0, 0, 0, 0};
  prunelab::Node op;
  if (!padded && window.kernel[0] == in.height && window.kernel[1] == in.width) {
    op.mutable_global_average_pool();
  } else {
    SetPool(node, window, op.mutable_average_pool2d());
    if (padded && IntAttribute(node, "count_include_pad", 0) == 0) {
      op.mutable_average_pool2d()->set_count_include_pad(false);
    }
  }
  PRUNELAB_ASSIGN_OR_RETURN(const int built, converter.Emit(node, op, {input}));
  converter.SetOutput(node, built);
  return absl::OkStatus();
}

}  // namespace

void AddWindows(ConvertTable& table) {
  table["Conv"] = ConvertConv;
  table["ConvTranspose"] = ConvertConvTranspose;
  table["MaxPool"] = ConvertMaxPool;
  table["AveragePool"] = ConvertAveragePool;
}

}  // namespace prunelab
