// What moves values and computes nothing: views change, channels are selected or put together.
#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/converters/constants.h"
#include "ml/onnx/converters/tables.h"
#include "ml/onnx/shape_rules.h"

namespace prunelab {
namespace {

absl::Status SetView(Converter& converter, const OnnxNode& node, const Live& live, View view) {
  converter.SetOutput(node, {live.node, std::move(view)});
  return absl::OkStatus();
}

absl::Status Reshape(Converter& converter, const OnnxNode& node, const Live& live, const std::vector<int64_t>& sizes) {
  std::optional<View> view = Reshaped(live.view, sizes);
  if (!view) {
    return NodeRefused(node, absl::StrCat("makes ", SizesText(sizes), " of ", SizesText(SizesOf(live.view)),
                                          ", which mixes channels, pixels and images"));
  }
  return SetView(converter, node, live, *std::move(view));
}

absl::Status ConvertReshape(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes,
                            ReshapedSizes(converter.graph(), node, SizesOf(live.view)));
  return Reshape(converter, node, live, sizes);
}

absl::Status ConvertFlatten(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, FlattenedSizes(node, SizesOf(live.view)));
  return Reshape(converter, node, live, sizes);
}

absl::Status ConvertTranspose(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int> order,
                            TransposedOrder(node, static_cast<int64_t>(live.view.size())));
  View view;
  for (const int k : order) view.push_back(live.view[k]);
  return SetView(converter, node, live, std::move(view));
}

absl::Status ConvertUnsqueeze(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int> axes,
                            UnsqueezedAxes(converter.graph(), node, static_cast<int64_t>(live.view.size())));
  View view = live.view;
  for (const int axis : axes) view.insert(view.begin() + axis, Dimension());
  return SetView(converter, node, live, std::move(view));
}

absl::Status ConvertSqueeze(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int> axes,
                            SqueezedAxes(converter.graph(), node, static_cast<int64_t>(live.view.size())));
  View view;
  for (int k = 0; k < static_cast<int>(live.view.size()); ++k) {
    const bool named = std::count(axes.begin(), axes.end(), k) > 0;
    if (named && !live.view[k].empty()) return NodeRefused(node, "removes the batch, or a dimension that is not 1");
    if (!(named || (axes.empty() && live.view[k].empty()))) view.push_back(live.view[k]);
  }
  return SetView(converter, node, live, std::move(view));
}

absl::Status ConvertIdentity(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  return SetView(converter, node, live, live.view);
}

// Between floating numbers: the network computes all in one type.
absl::Status ConvertCast(Converter& converter, const OnnxNode& node) {
  const int64_t type = IntAttribute(node, "to", 1);
  const bool floating = type == 1 || type == 10 || type == 11 || type == 16;
  if (!floating) return NodeRefused(node, absl::StrCat("casts what depends on the images to the type ", type));
  return ConvertIdentity(converter, node);
}

absl::Status ConvertExpand(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, IntsOf(converter.graph(), node, "shape", 1, {}));
  const std::vector<int64_t> own = SizesOf(live.view);
  bool same = sizes.size() <= own.size();
  for (size_t k = 0; k < sizes.size() && same; ++k) {
    const int64_t size = own[own.size() - sizes.size() + k];
    same = sizes[k] == size || sizes[k] == 1;
  }
  if (!same) {
    return NodeRefused(node, absl::StrCat("repeats ", SizesText(own), " to ", SizesText(sizes),
                                          "; sums and products repeat their inputs by themselves"));
  }
  return SetView(converter, node, live, live.view);
}

// Whether the dimension has channels and nothing else. A single channel is told by its place alone.
bool IsOfChannels(const Converter& converter, const Live& live, int axis) {
  if (IsOnly(live.view[axis], Axis::kChannels)) return true;
  return axis == 1 && converter.shape(live).channels == 1 && live.view == converter.Whole(live.node).view;
}

// Rows or columns 0, step, 2 step, ...: the pools of one pixel.
absl::StatusOr<Live> EveryStep(Converter& converter, const OnnxNode& node, const Live& live, const SliceRule& rule) {
  const NodeShape in = converter.shape(live);
  const Dimension& dimension = live.view[rule.axis];
  const bool rows = IsWhole(dimension, Axis::kHeight, in.height);
  const int64_t size = SizeOf(dimension);
  const bool whole = rule.start == 0 && rule.step > 1 && rule.count == (size - 1) / rule.step + 1;
  if (!whole || (!rows && !IsWhole(dimension, Axis::kWidth, in.width))) {
    return NodeRefused(node, absl::StrCat("takes ", rule.count, " of ", size, " from ", rule.start, " on, in steps of ",
                                          rule.step, ": of rows and columns only all of each step are known"));
  }
  prunelab::Node op;
  op.mutable_max_pool2d()->set_kernel(1);
  op.mutable_max_pool2d()->set_stride(rows ? rule.step : 1);
  op.mutable_max_pool2d()->set_stride_width(rows ? 1 : rule.step);
  PRUNELAB_ASSIGN_OR_RETURN(Live pooled, converter.EmitOn(node, op, live));
  pooled.view[rule.axis].clear();
  if (rule.count > 1) pooled.view[rule.axis].push_back({rows ? Axis::kHeight : Axis::kWidth, rule.count, 1});
  return pooled;
}

absl::StatusOr<Live> Sliced(Converter& converter, const OnnxNode& node, const Live& live, const SliceRule& rule) {
  const int64_t size = SizeOf(live.view[rule.axis]);
  if (rule.start == 0 && rule.step == 1 && rule.count == size) return live;
  if (rule.count < 1) return NodeRefused(node, "leaves nothing");
  if (!IsOfChannels(converter, live, rule.axis)) return EveryStep(converter, node, live, rule);
  std::vector<int64_t> indices;
  for (int64_t k = 0; k < rule.count; ++k) indices.push_back(rule.start + k * rule.step);
  return converter.Selected(node, live, rule.axis, indices);
}

// Steps of both rows and columns are one pool.
absl::Status ConvertSlice(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<SliceRule> rules,
                            ResolveSlices(converter.graph(), node, SizesOf(live.view)));
  for (const SliceRule& rule : rules) {
    PRUNELAB_ASSIGN_OR_RETURN(live, Sliced(converter, node, live, rule));
  }
  return SetView(converter, node, live, live.view);
}

absl::Status ConvertSplit(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const SplitRule rule, ResolveSplit(converter.graph(), node, SizesOf(live.view)));
  int64_t start = 0;
  for (size_t k = 0; k < rule.sizes.size(); ++k) {
    PRUNELAB_ASSIGN_OR_RETURN(const Live part, Sliced(converter, node, live, {rule.axis, start, 1, rule.sizes[k]}));
    converter.SetOutput(node, k, part);
    start += rule.sizes[k];
  }
  return absl::OkStatus();
}

// Rows or columns in the order of a resize to the nearest ones.
absl::StatusOr<Live> NearestOnes(Converter& converter, const OnnxNode& node, const Live& live, int axis,
                                 const std::vector<int64_t>& indices) {
  const NodeShape in = converter.shape(live);
  const Dimension& dimension = live.view[axis];
  const int64_t size = SizeOf(dimension), made = static_cast<int64_t>(indices.size());
  // Of a size of 1, only the place among [images, channels, rows, columns] says what it is.
  const bool one = size == 1 && live.view.size() == 4 && IsWhole(live.view[1], Axis::kChannels, in.channels);
  const bool rows = one ? axis == 2 && in.height == 1 : IsWhole(dimension, Axis::kHeight, in.height);
  bool fits = rows || (one ? axis == 3 && in.width == 1 : IsWhole(dimension, Axis::kWidth, in.width));
  for (int64_t k = 0; k < made && fits; ++k) fits = indices[static_cast<size_t>(k)] == k * size / made;
  if (!fits) return NodeRefused(node, "takes some images, rows or columns; only channels are known");
  prunelab::Node op;
  op.mutable_resize()->set_function(prunelab::Resize::NEAREST);
  op.mutable_resize()->set_height(rows ? made : in.height);
  op.mutable_resize()->set_width(rows ? in.width : made);
  PRUNELAB_ASSIGN_OR_RETURN(Live resized, converter.EmitOn(node, op, live));
  resized.view[axis].clear();
  if (made > 1) resized.view[axis].push_back({rows ? Axis::kHeight : Axis::kWidth, made, 1});
  return resized;
}

absl::Status ConvertGather(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor given, converter.Constant(node, 1));
  PRUNELAB_ASSIGN_OR_RETURN(const int axis,
                            ResolveAxis(node, IntAttribute(node, "axis", 0), static_cast<int64_t>(live.view.size())));
  const int64_t size = SizeOf(live.view[axis]);
  if (!c10::isIntegralType(given.scalar_type(), /*includeBool=*/false)) {
    return NodeRefused(node, "its indices must be integers");
  }
  std::vector<int64_t> indices = ToInts(given);
  for (int64_t& index : indices) {
    if (index < -size || index >= size) {
      return NodeRefused(node, absl::StrCat("takes ", index, " of ", size));
    }
    if (index < 0) index += size;
  }
  if (indices.empty()) return NodeRefused(node, "leaves nothing");
  // All of them in their order: another shape, and nothing else.
  std::vector<int64_t> sizes = SizesOf(live.view);
  sizes.erase(sizes.begin() + axis);
  sizes.insert(sizes.begin() + axis, given.sizes().begin(), given.sizes().end());
  if (IsIdentity(indices, size)) return Reshape(converter, node, live, sizes);
  const bool channels = IsOfChannels(converter, live, axis);
  if (!channels && given.dim() == 1) {
    PRUNELAB_ASSIGN_OR_RETURN(const Live nearest, NearestOnes(converter, node, live, axis, indices));
    return SetView(converter, node, nearest, nearest.view);
  }
  if (!channels) return NodeRefused(node, "takes some images, rows or columns");
  if (given.dim() > 1) return NodeRefused(node, "its indices must be a vector or one number");
  PRUNELAB_ASSIGN_OR_RETURN(Live selected, converter.Selected(node, live, axis, indices));
  if (given.dim() == 0) selected.view.erase(selected.view.begin() + axis);
  return SetView(converter, node, selected, selected.view);
}

// An input of a concatenation; constants become nodes of their own, in full size.
absl::StatusOr<Live> Part(Converter& converter, const OnnxNode& node, size_t k, const Live& like, int axis) {
  if (!converter.IsConstant(node, k)) return converter.Input(node, k);
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor constant, converter.Constant(node, k));
  std::vector<int64_t> sizes = SizesOf(like.view);
  const bool canonical = sizes.size() == 4 && axis == 1;
  if (!canonical || constant.dim() != 4) return NodeRefused(node, "joins a constant with what is no map");
  sizes[0] = constant.size(0) == sizes[0] ? sizes[0] : 1;
  sizes[1] = constant.size(1);
  if (constant.sizes() != at::IntArrayRef(sizes)) return NodeRefused(node, "joins maps of different sizes");
  if (!AllAre(constant - constant.narrow(0, 0, 1), 0)) return NodeRefused(node, "joins constants by image");
  return ConstantAsLive(converter, node, constant.narrow(0, 0, 1), OnnxGraph::Input(node, k));
}

// Whether all lie alike but for the channels, which are all of dimension `axis`.
bool JoinsChannels(const Converter& converter, const std::vector<Live>& parts, int axis) {
  return std::all_of(parts.begin(), parts.end(), [&](const Live& part) {
    View view = part.view, first = parts[0].view;
    if (view.size() != first.size() || !IsWhole(view[axis], Axis::kChannels, converter.shape(part).channels)) {
      return false;
    }
    view[axis] = first[axis];
    return view == first && converter.shape(part).flat == converter.shape(parts[0]).flat;
  });
}

absl::Status ConvertConcat(Converter& converter, const OnnxNode& node) {
  Live like;
  for (size_t k = 0; k < node.inputs.size() && like.node < 0; ++k) {
    if (converter.IsConstant(node, k)) continue;
    PRUNELAB_ASSIGN_OR_RETURN(like, converter.Input(node, k));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const int axis,
                            ResolveAxis(node, IntAttribute(node, "axis", 0), static_cast<int64_t>(like.view.size())));
  std::vector<Live> parts;
  for (size_t k = 0; k < node.inputs.size(); ++k) {
    PRUNELAB_ASSIGN_OR_RETURN(const Live part, Part(converter, node, k, like, axis));
    parts.push_back(part);
  }
  if (parts.size() == 1) return SetView(converter, node, like, like.view);
  if (!JoinsChannels(converter, parts, axis)) {
    if (axis != 1) return NodeRefused(node, "only channels can be joined, not images, rows or columns");
    for (Live& part : parts) {
      PRUNELAB_ASSIGN_OR_RETURN(part, converter.AsIs(node, part));
    }
  }
  if (!JoinsChannels(converter, parts, axis)) return NodeRefused(node, "joins values that do not lie alike");
  prunelab::Node op;
  op.mutable_concat();
  std::vector<int> inputs;
  for (const Live& part : parts) inputs.push_back(part.node);
  PRUNELAB_ASSIGN_OR_RETURN(const int built, converter.Emit(node, op, inputs));
  View view = parts[0].view;
  view[axis] = {{Axis::kChannels, converter.shape({built, {}}).channels, 1}};
  return SetView(converter, node, {built, {}}, std::move(view));
}

}  // namespace

void AddArrangements(ConvertTable& table) {
  table["Reshape"] = ConvertReshape;
  table["Flatten"] = ConvertFlatten;
  table["Transpose"] = ConvertTranspose;
  table["Unsqueeze"] = ConvertUnsqueeze;
  table["Squeeze"] = ConvertSqueeze;
  table["Identity"] = ConvertIdentity;
  table["Cast"] = ConvertCast;
  table["Expand"] = ConvertExpand;
  table["Slice"] = ConvertSlice;
  table["Split"] = ConvertSplit;
  table["Gather"] = ConvertGather;
  table["Concat"] = ConvertConcat;
}

}  // namespace prunelab
