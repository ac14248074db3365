#include "ml/onnx/converters/constants.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/shape_rules.h"

namespace prunelab {
namespace {

// An atom with its place in the tensor whose dimensions are atoms.
struct Placed {
  Atom atom;
  int64_t dimension = 0;
};

// The constant with as many dimensions as the value has.
at::Tensor Padded(at::Tensor constant, size_t rank) {
  while (constant.dim() > static_cast<int64_t>(rank) && constant.size(0) == 1) constant = constant.squeeze(0);
  while (constant.dim() < static_cast<int64_t>(rank)) constant = constant.unsqueeze(0);
  return constant;
}

// The atoms of one axis, the slowest first.
std::vector<Placed> AtomsOf(const std::vector<Placed>& atoms, Axis axis) {
  std::vector<Placed> chosen;
  for (const Placed& placed : atoms) {
    if (placed.atom.axis == axis) chosen.push_back(placed);
  }
  std::sort(chosen.begin(), chosen.end(),
            [](const Placed& a, const Placed& b) { return a.atom.stride > b.atom.stride; });
  return chosen;
}

}  // namespace

bool FitsInto(const at::Tensor& constant, const Live& live) {
  const at::Tensor padded = Padded(constant, live.view.size());
  if (padded.dim() != static_cast<int64_t>(live.view.size())) return false;
  for (size_t k = 0; k < live.view.size(); ++k) {
    const int64_t size = padded.size(static_cast<int64_t>(k));
    if (size != 1 && size != SizeOf(live.view[k])) return false;
  }
  return true;
}

absl::StatusOr<at::Tensor> OnAxes(const Converter& converter, const OnnxNode& node, const at::Tensor& constant,
                                  const Live& live) {
  if (!FitsInto(constant, live)) {
    return NodeRefused(node,
                       absl::StrCat("a constant of the sizes ", SizesText(constant.sizes().vec()),
                                    " does not fit the value that it meets, of ", live.view.size(), " dimensions"));
  }
  const at::Tensor padded = Padded(constant, live.view.size());
  std::vector<Placed> atoms;
  std::vector<int64_t> sizes;
  for (size_t k = 0; k < live.view.size(); ++k) {
    const bool repeated = padded.size(static_cast<int64_t>(k)) == 1;
    for (const Atom& atom : live.view[k]) {
      atoms.push_back({atom, static_cast<int64_t>(sizes.size())});
      sizes.push_back(repeated ? 1 : atom.size);
    }
  }
  at::Tensor by_atom = padded.reshape(sizes);
  std::vector<int64_t> order, axes;
  for (const Axis axis : {Axis::kBatch, Axis::kChannels, Axis::kHeight, Axis::kWidth}) {
    const std::vector<Placed> own = AtomsOf(atoms, axis);
    const bool varies =
        std::any_of(own.begin(), own.end(), [&](const Placed& placed) { return sizes[placed.dimension] != 1; });
    if (axis == Axis::kBatch && varies) return NodeRefused(node, "meets a constant that differs from image to image");
    int64_t size = 1;
    for (const Placed& placed : own) {
      order.push_back(placed.dimension);
      if (!varies) continue;
      sizes[placed.dimension] = placed.atom.size;
      size *= placed.atom.size;
    }
    if (axis != Axis::kBatch) axes.push_back(size);
  }
  constexpr int64_t kMostElements = int64_t{1} << 26;
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t elements, CountElements(node, axes));
  if (elements > std::max(kMostElements, constant.numel())) return NodeRefused(node, "repeats a constant too often");
  return by_atom.expand(sizes).permute(order).reshape(axes);
}

absl::StatusOr<int> EmitConstant(Converter& converter, const OnnxNode& node, const at::Tensor& values, int value) {
  prunelab::Node op;
  op.mutable_constant()->set_channels(values.size(0));
  op.mutable_constant()->set_height(values.size(1));
  op.mutable_constant()->set_width(values.size(2));
  return converter.Emit(node, op, {}, {{"value", values}}, value < 0 ? std::vector<int>() : std::vector<int>{value});
}

absl::StatusOr<Live> ConstantAsLive(Converter& converter, const OnnxNode& node, const at::Tensor& constant, int value) {
  const bool flat = constant.dim() == 2;
  at::Tensor padded = flat ? constant.unsqueeze(-1).unsqueeze(-1) : Padded(constant, 4);
  if (padded.dim() != 4 || padded.size(0) != 1 || !padded.is_floating_point()) {
    return NodeRefused(node, absl::StrCat("meets a constant of the sizes ", SizesText(constant.sizes().vec()),
                                          "; must be floating numbers [1, channels, height, width]"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const int built, EmitConstant(converter, node, padded[0], value));
  Live live = converter.Whole(built);
  if (flat) live.view.resize(2);
  return live;
}

absl::StatusOr<Live> EmitScale(Converter& converter, const OnnxNode& node, const Live& live, const at::Tensor& weight,
                               const at::Tensor& bias, const std::vector<int>& values) {
  const int64_t channels = converter.shape(live).channels;
  const bool scales = weight.defined() && !AllAre(weight, 1), shifts = bias.defined() && !AllAre(bias, 0);
  if (!scales && !shifts) return live;
  prunelab::Node op;
  std::map<std::string, at::Tensor> tensors;
  op.mutable_channel_scale();
  if (!scales) op.mutable_channel_scale()->set_weight(false);
  if (shifts) op.mutable_channel_scale()->set_bias(true);
  if (scales) tensors["weight"] = weight.reshape({-1}).expand({channels});
  if (shifts) tensors["bias"] = bias.reshape({-1}).expand({channels});
  return converter.EmitOn(node, op, live, std::move(tensors), values);
}

bool AllAre(const at::Tensor& tensor, double number) { return (tensor == number).all().item<bool>(); }

}  // namespace prunelab
