// Normalizations: of batches, of the channels of a pixel, of groups of channels, and of single maps.
#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/converters/constants.h"
#include "ml/onnx/converters/tables.h"
#include "ml/onnx/shape_rules.h"

namespace prunelab {
namespace {

// Input k as one number by channel; undefined if it is left out.
absl::StatusOr<at::Tensor> Vector(Converter& converter, const OnnxNode& node, size_t k) {
  if (!HasInput(node, k)) return at::Tensor();
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor vector, converter.Constant(node, k));
  if (vector.dim() == 1 && vector.is_floating_point() && vector.numel() > 0) return vector;
  return NodeRefused(node, absl::StrCat("input ", k, " is ", SizesText(vector.sizes().vec()),
                                        "; must be a vector of floating numbers"));
}

// The values of inputs 1 and 2, for names.
std::vector<int> AffineValues(const OnnxNode& node) {
  std::vector<int> values;
  for (const size_t k : {1, 2}) {
    if (HasInput(node, k)) values.push_back(OnnxGraph::Input(node, k));
  }
  return values;
}

// PyTorch's weight of a new batch is 1 minus ONNX's of the old statistics.
double Momentum(const OnnxNode& node) {
  const double old = FloatAttribute(node, "momentum", 0.9);
  return std::round((1 - old) * 1e9) / 1e9;
}

absl::Status ConvertBatchNormalization(Converter& converter, const OnnxNode& node) {
  static const char* const kSuffixes[] = {"weight", "bias", "running_mean", "running_var"};
  std::map<std::string, at::Tensor> tensors;
  std::vector<int> values;
  for (size_t k = 0; k < 4; ++k) {
    PRUNELAB_ASSIGN_OR_RETURN(tensors[kSuffixes[k]], Vector(converter, node, k + 1));
    if (!tensors[kSuffixes[k]].defined()) return NodeRefused(node, absl::StrCat("has no input ", k + 1));
    values.push_back(OnnxGraph::Input(node, k + 1));
  }
  tensors["num_batches_tracked"] = at::zeros({}, at::kLong);
  prunelab::Node op;
  const double epsilon = FloatAttribute(node, "epsilon", 1e-5), momentum = Momentum(node);
  op.mutable_batch_norm2d();
  if (epsilon != 1e-5) op.mutable_batch_norm2d()->set_epsilon(epsilon);
  if (momentum != 0.1) op.mutable_batch_norm2d()->set_momentum(momentum);
  PRUNELAB_ASSIGN_OR_RETURN(Live live, converter.Input(node, 0));
  View view = live.view;
  if (view.size() == 2) {  // of features: maps of one pixel
    PRUNELAB_ASSIGN_OR_RETURN(live, converter.AsMap(node, {live.node, {view[0], view[1], {}, {}}}));
    view = {live.view[0], live.view[1]};
  } else if (view.size() == 4) {
    PRUNELAB_ASSIGN_OR_RETURN(live, converter.AsMap(node, live));
    view = live.view;
  }
  if (view.size() < 2 || !IsWhole(view[1], Axis::kChannels, converter.shape(live).channels)) {
    return NodeRefused(node, "normalizes another dimension than the channels");
  }
  PRUNELAB_ASSIGN_OR_RETURN(const Live result,
                            converter.EmitOn(node, op, {live.node, view}, std::move(tensors), values));
  converter.SetOutput(node, result);
  return absl::OkStatus();
}

// x times the scale plus the bias of the node's inputs 1 and 2, which lie on the last dimensions.
absl::StatusOr<Live> WithAffine(Converter& converter, const OnnxNode& node, const Live& live) {
  at::Tensor weight, bias;
  if (HasInput(node, 1)) {
    PRUNELAB_ASSIGN_OR_RETURN(weight, converter.Constant(node, 1));
    PRUNELAB_ASSIGN_OR_RETURN(weight, OnAxes(converter, node, weight, live));
  }
  if (HasInput(node, 2)) {
    PRUNELAB_ASSIGN_OR_RETURN(bias, converter.Constant(node, 2));
    PRUNELAB_ASSIGN_OR_RETURN(bias, OnAxes(converter, node, bias, live));
  }
  for (const at::Tensor& tensor : {weight, bias}) {
    if (tensor.defined() && (tensor.size(1) != 1 || tensor.size(2) != 1)) {
      return NodeRefused(node, "its scale and bias must be the same for all pixels");
    }
  }
  return EmitScale(converter, node, live, weight, bias, AffineValues(node));
}

// The dimensions that are normalized: those from `axis` on, or, of a formula (patterns.h), `axes`.
absl::StatusOr<std::vector<int>> NormalizedAxes(const OnnxNode& node, int64_t rank) {
  if (HasAttribute(node, "axes")) return ResolveAxes(node, IntsAttribute(node, "axes", {}), rank);
  PRUNELAB_ASSIGN_OR_RETURN(const int first, ResolveAxis(node, IntAttribute(node, "axis", -1), rank));
  std::vector<int> axes;
  for (int k = first; k < static_cast<int>(rank); ++k) axes.push_back(k);
  return axes;
}

// The norm of all values of an image.
absl::StatusOr<Live> EmitImageNorm(Converter& converter, const OnnxNode& node, const Live& live, double epsilon) {
  prunelab::Node op;
  op.mutable_group_norm()->set_groups(1);
  op.mutable_group_norm()->set_epsilon(epsilon);
  op.mutable_group_norm()->set_affine(false);
  PRUNELAB_ASSIGN_OR_RETURN(const Live normal, converter.EmitOn(node, op, live));
  return WithAffine(converter, node, normal);
}

// The norm of the channels of each pixel, or of all features.
absl::StatusOr<Live> EmitLayerNorm(Converter& converter, const OnnxNode& node, const Live& live, double epsilon) {
  prunelab::Node op;
  std::map<std::string, at::Tensor> tensors;
  op.mutable_layer_norm()->set_epsilon(epsilon);
  PRUNELAB_ASSIGN_OR_RETURN(at::Tensor weight, Vector(converter, node, 1));
  PRUNELAB_ASSIGN_OR_RETURN(at::Tensor bias, Vector(converter, node, 2));
  if (!weight.defined() && !bias.defined()) {
    op.mutable_layer_norm()->set_affine(false);
  } else {
    tensors["weight"] = weight.defined() ? weight : at::ones_like(bias);
    tensors["bias"] = bias.defined() ? bias : at::zeros_like(weight);
  }
  return converter.EmitOn(node, op, live, std::move(tensors), AffineValues(node));
}

absl::Status ConvertLayerNormalization(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(Live live, converter.Input(node, 0));
  if (live.view.size() == 2) {
    PRUNELAB_ASSIGN_OR_RETURN(live, converter.AsFlat(node, live));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int> axes, NormalizedAxes(node, static_cast<int64_t>(live.view.size())));
  const NodeShape in = converter.shape(live);
  const bool channels = axes.size() == 1 && IsWhole(live.view[axes[0]], Axis::kChannels, in.channels);
  const bool all = axes.size() + 1 == live.view.size() && std::count(axes.begin(), axes.end(), 0) == 0 &&
                   IsOnly(live.view[0], Axis::kBatch) && !in.flat;
  if (!channels && !all) return NodeRefused(node, "is known over the channels, or all of channels, rows and columns");
  const double epsilon = FloatAttribute(node, "epsilon", 1e-5);
  PRUNELAB_ASSIGN_OR_RETURN(const Live result, channels ? EmitLayerNorm(converter, node, live, epsilon)
                                                        : EmitImageNorm(converter, node, live, epsilon));
  converter.SetOutput(node, result);
  return absl::OkStatus();
}

// One number a group for each of its channels, or one a channel as it is.
at::Tensor ByChannel(const at::Tensor& vector, int64_t channels) {
  if (vector.numel() == channels || channels % vector.numel() != 0) return vector;
  return vector.repeat_interleave(channels / vector.numel());
}

// A norm of groups of channels, with scale and bias by channel or by group.
absl::StatusOr<Live> EmitGroupNorm(Converter& converter, const OnnxNode& node, const Live& live, int64_t groups) {
  const int64_t channels = converter.shape(live).channels;
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor scale, Vector(converter, node, 1));
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor shift, Vector(converter, node, 2));
  if (!scale.defined() || !shift.defined()) return NodeRefused(node, "needs a scale and a bias");
  const double epsilon = FloatAttribute(node, "epsilon", 1e-5);
  const bool affine = !AllAre(scale, 1) || !AllAre(shift, 0);
  prunelab::Node op;
  if (groups == channels) {
    op.mutable_instance_norm()->set_epsilon(epsilon);
    op.mutable_instance_norm()->set_affine(affine);
  } else {
    op.mutable_group_norm()->set_groups(groups);
    op.mutable_group_norm()->set_epsilon(epsilon);
    op.mutable_group_norm()->set_affine(affine);
  }
  std::map<std::string, at::Tensor> tensors;
  if (affine) tensors = {{"weight", ByChannel(scale, channels)}, {"bias", ByChannel(shift, channels)}};
  return converter.EmitOn(node, op, live, std::move(tensors), affine ? AffineValues(node) : std::vector<int>());
}

// Of maps, or of groups of channels as PyTorch's exporters write GroupNorm: [N, groups, everything else].
absl::Status ConvertInstanceNormalization(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  const NodeShape in = converter.shape(live);
  const bool batch = live.view.size() >= 3 && IsOnly(live.view[0], Axis::kBatch) && !in.flat;
  const int64_t groups = batch ? SizeOf(live.view[1]) : 0;
  // The groups are the slowest factor of the channels, and what else there is, in any order, is normalized.
  const bool first = groups == 1 || (batch && live.view[1].size() == 1 && live.view[1][0].axis == Axis::kChannels &&
                                     live.view[1][0].stride * groups == in.channels);
  if (!batch || !first) return NodeRefused(node, "normalizes other dimensions than the pixels of channels or groups");
  PRUNELAB_ASSIGN_OR_RETURN(const Live result, EmitGroupNorm(converter, node, live, groups));
  converter.SetOutput(node, result);
  return absl::OkStatus();
}

absl::Status ConvertGroupNormalization(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const int input, converter.MapInput(node, 0));
  const int64_t groups = IntAttribute(node, "num_groups", 0);
  PRUNELAB_ASSIGN_OR_RETURN(const Live result, EmitGroupNorm(converter, node, converter.Whole(input), groups));
  converter.SetOutput(node, result);
  return absl::OkStatus();
}

}  // namespace

void AddNorms(ConvertTable& table) {
  table["BatchNormalization"] = ConvertBatchNormalization;
  table["LayerNormalization"] = ConvertLayerNormalization;
  table["InstanceNormalization"] = ConvertInstanceNormalization;
  table["GroupNormalization"] = ConvertGroupNormalization;
}

}  // namespace prunelab
