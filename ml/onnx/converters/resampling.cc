// Maps of other sizes: resized, and padded at their borders. Padded channels are scattered among new ones.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/converters/tables.h"
#include "ml/onnx/shape_rules.h"

namespace prunelab {
namespace {

// A Resize of one of the axes.
struct Resampling {
  int64_t from = 1, to = 1;
  double scale = 1;
};

// Where ONNX takes the output's row from, among the input's.
absl::StatusOr<double> SourceOf(const OnnxNode& node, const std::string& mode, const Resampling& axis, int64_t row) {
  if (mode == "asymmetric") return row / axis.scale;
  if (mode == "half_pixel") return (row + 0.5) / axis.scale - 0.5;
  if (mode == "pytorch_half_pixel") return axis.to > 1 ? (row + 0.5) / axis.scale - 0.5 : 0;
  if (mode == "align_corners") {
    return axis.to > 1 ? static_cast<double>(row) * (axis.from - 1) / (axis.to - 1) : 0;
  }
  return NodeRefused(node, absl::StrCat("coordinate_transformation_mode ", Quoted(mode), " is not known"));
}

double Rounded(const std::string& mode, double source) {
  if (mode == "floor") return std::floor(source);
  if (mode == "ceil") return std::ceil(source);
  if (mode == "round_prefer_ceil") return std::floor(source + 0.5);
  return std::ceil(source - 0.5);  // round_prefer_floor
}

// Whether output row i is input row floor(i from / to).
absl::Status CheckNearest(const OnnxNode& node, const std::string& coordinates, const Resampling& axis) {
  const std::string rounding =
      TextAttribute(node, "nearest_mode", node.op == "Upsample" ? "floor" : "round_prefer_floor");
  for (int64_t row = 0; row < axis.to; ++row) {
    PRUNELAB_ASSIGN_OR_RETURN(const double source, SourceOf(node, coordinates, axis, row));
    const int64_t taken = std::clamp<int64_t>(static_cast<int64_t>(Rounded(rounding, source)), 0, axis.from - 1);
    if (taken == row * axis.from / axis.to) continue;
    return NodeRefused(node, absl::StrCat("takes row ", taken, " for row ", row, " of ", axis.to, " from ", axis.from,
                                          "; known is the rule of PyTorch's mode \"nearest\""));
  }
  return absl::OkStatus();
}

// The sizes that are made of sizes or scales, which are inputs 2 and 3 of Resize (1 before opset 11, and of Upsample).
absl::StatusOr<std::vector<Resampling>> ReadResampling(const OnnxGraph& graph, const OnnxNode& node,
                                                       const std::vector<int64_t>& sizes) {
  std::vector<Resampling> axes(sizes.size());
  const size_t scales_input = node.inputs.size() >= 3 ? 2 : 1;
  std::vector<double> scales(sizes.size(), 1);
  std::vector<int64_t> to;
  if (HasInput(node, 3)) {
    PRUNELAB_ASSIGN_OR_RETURN(to, IntsOf(graph, node, "sizes", 3, {}));
  } else if (HasInput(node, scales_input)) {
    PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor given, ConstantInput(graph, node, scales_input));
    const at::Tensor numbers = given.to(at::kDouble).contiguous();
    if (numbers.dim() != 1) return NodeRefused(node, "its scales must be a vector");
    scales.assign(numbers.data_ptr<double>(), numbers.data_ptr<double>() + numbers.numel());
  } else if (node.attributes.count("scales") > 0) {
    scales = node.attributes.at("scales").floats;
  }
  if (HasAttribute(node, "axes")) return NodeRefused(node, "axes are not known; give sizes of all dimensions");
  if (scales.size() != sizes.size() || (!to.empty() && to.size() != sizes.size())) {
    return NodeRefused(node, absl::StrCat("needs sizes or scales of ", sizes.size(), " dimensions"));
  }
  constexpr double kMost = 1 << 20;
  for (size_t k = 0; k < sizes.size(); ++k) {
    axes[k].from = sizes[k];
    const double made = to.empty() ? std::floor(static_cast<double>(sizes[k]) * scales[k]) : static_cast<double>(to[k]);
    if (!(made >= 1 && made <= kMost)) return NodeRefused(node, absl::StrCat("makes the size ", made));
    axes[k].to = static_cast<int64_t>(made);
    axes[k].scale = to.empty() ? scales[k] : made / static_cast<double>(sizes[k]);
  }
  return axes;
}

absl::StatusOr<Resize::Function> FunctionOf(const OnnxNode& node, const std::vector<Resampling>& axes) {
  const bool upsample = node.op == "Upsample";
  const std::string mode = TextAttribute(node, "mode", "nearest");
  const std::string coordinates =
      TextAttribute(node, "coordinate_transformation_mode", upsample ? "asymmetric" : "half_pixel");
  if (mode == "nearest") {
    for (const int k : {2, 3}) PRUNELAB_RETURN_IF_ERROR(CheckNearest(node, coordinates, axes[k]));
    return Resize::NEAREST;
  }
  if (mode != "linear" || IntAttribute(node, "antialias", 0) != 0) {
    return NodeRefused(node, absl::StrCat("mode ", Quoted(mode),
                                          " is not known; nearest and linear are, without "
                                          "antialiasing"));
  }
  if (coordinates == "align_corners") return Resize::BILINEAR_ALIGNED;
  const bool half = coordinates == "pytorch_half_pixel" || coordinates == "half_pixel";
  for (const int k : {2, 3}) {
    const bool same = coordinates == "half_pixel" || axes[k].to > 1 || axes[k].from == 1;
    const double exact = static_cast<double>(axes[k].to) / static_cast<double>(axes[k].from);
    if (half && same && std::abs(axes[k].scale - exact) < 1e-6 * exact) continue;
    return NodeRefused(node, absl::StrCat("linear with the coordinates ", Quoted(coordinates), " from ", axes[k].from,
                                          " to ", axes[k].to, " by the scale ", axes[k].scale,
                                          " is not known; half_pixel is, with a scale of whole pixels"));
  }
  return Resize::BILINEAR;
}

absl::Status ConvertResize(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const int input, converter.MapInput(node, 0));
  const Live live = converter.Whole(input);
  const NodeShape in = converter.shape(live);
  PRUNELAB_ASSIGN_OR_RETURN(
      const std::vector<Resampling> axes,
      ReadResampling(converter.graph(), node, {converter.batch(), in.channels, in.height, in.width}));
  if (axes[0].to != axes[0].from || axes[1].to != axes[1].from) return NodeRefused(node, "resizes batch or channels");
  if (axes[2].to == in.height && axes[3].to == in.width) {
    converter.SetOutput(node, live);
    return absl::OkStatus();
  }
  prunelab::Node op;
  PRUNELAB_ASSIGN_OR_RETURN(const Resize::Function function, FunctionOf(node, axes));
  op.mutable_resize()->set_function(function);
  op.mutable_resize()->set_height(axes[2].to);
  op.mutable_resize()->set_width(axes[3].to);
  PRUNELAB_ASSIGN_OR_RETURN(const int built, converter.Emit(node, op, {input}));
  converter.SetOutput(node, built);
  return absl::OkStatus();
}

// For each of four dimensions the begin, then for each the end.
absl::StatusOr<std::vector<int64_t>> ReadPads(const OnnxGraph& graph, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> given, IntsOf(graph, node, "pads", 1, {}));
  std::vector<int64_t> axes = {0, 1, 2, 3};
  PRUNELAB_ASSIGN_OR_RETURN(axes, IntsOf(graph, node, "", 3, axes));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int> resolved, ResolveAxes(node, axes, 4));
  constexpr int64_t kMost = 1 << 20;
  std::vector<int64_t> pads(8, 0);
  for (size_t k = 0; k < resolved.size(); ++k) {
    if (given.size() != 2 * resolved.size()) return NodeRefused(node, "needs two pads for each dimension");
    pads[resolved[k]] = given[k];
    pads[resolved[k] + 4] = given[k + resolved.size()];
  }
  for (const int64_t pad : pads) {
    if (pad < 0 || pad > kMost) return NodeRefused(node, absl::StrCat("pads by ", pad, "; must be from 0 to ", kMost));
  }
  if (pads[0] != 0 || pads[4] != 0) return NodeRefused(node, "adds images to the batch");
  return pads;
}

// New channels of zeros before and after the others.
absl::StatusOr<int> PadChannels(Converter& converter, const OnnxNode& node, int input, int64_t before, int64_t after) {
  const int64_t channels = converter.shape({input, {}}).channels;
  prunelab::Node op;
  op.mutable_scatter()->set_channels(before + channels + after);
  for (int64_t k = 0; k < channels; ++k) op.mutable_scatter()->add_index(before + k);
  return converter.Emit(node, op, {input});
}

absl::StatusOr<int> PadPixels(Converter& converter, const OnnxNode& node, int input, const std::vector<int64_t>& pads,
                              Pad::Function function, double value) {
  prunelab::Node op;
  if (function != Pad::CONSTANT) op.mutable_pad()->set_function(function);
  for (const int k : {2, 3, 6, 7}) op.mutable_pad()->add_pads(pads[k]);
  if (value != 0) op.mutable_pad()->set_value(value);
  return converter.Emit(node, op, {input});
}

absl::Status ConvertPad(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(int built, converter.MapInput(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> pads, ReadPads(converter.graph(), node));
  PRUNELAB_ASSIGN_OR_RETURN(const double value, NumberOf(converter.graph(), node, "value", 2, 0));
  const std::string mode = TextAttribute(node, "mode", "constant");
  Pad::Function function = Pad::CONSTANT;
  if (mode == "reflect") {
    function = Pad::REFLECT;
  } else if (mode == "edge") {
    function = Pad::REPLICATE;
  } else if (mode != "constant") {
    return NodeRefused(node, absl::StrCat("mode ", Quoted(mode), "; must be constant, reflect or edge"));
  }
  const bool pixels = pads[2] + pads[3] + pads[6] + pads[7] > 0, channels = pads[1] + pads[5] > 0;
  if (channels && (function != Pad::CONSTANT || value != 0)) return NodeRefused(node, "adds channels that are not 0");
  if (pixels) {
    PRUNELAB_ASSIGN_OR_RETURN(built, PadPixels(converter, node, built, pads, function, value));
  }
  if (channels) {
    PRUNELAB_ASSIGN_OR_RETURN(built, PadChannels(converter, node, built, pads[1], pads[5]));
  }
  converter.SetOutput(node, built);
  return absl::OkStatus();
}

}  // namespace

void AddResampling(ConvertTable& table) {
  table["Resize"] = ConvertResize;
  table["Upsample"] = ConvertResize;
  table["Pad"] = ConvertPad;
}

}  // namespace prunelab
