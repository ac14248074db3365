#include "ml/onnx/converter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/converters/constants.h"
#include "ml/onnx/names.h"

namespace prunelab {
namespace {

constexpr int64_t kMostChannels = 1 << 20;

std::string KnownOperators() {
  std::vector<std::string> names;
  for (const auto& [name, convert] : Converters()) names.push_back(name);
  return absl::StrJoin(names, ", ");
}

// An open batch is not shown as the number that stands for it.
std::string Text(const View& view) {
  std::vector<std::string> sizes;
  for (const Dimension& dimension : view) {
    const bool batch = HasAxis(dimension, Axis::kBatch);
    const bool alone = batch && dimension.size() == 1;
    sizes.push_back(alone ? "batch" : batch ? "batch * ..." : absl::StrCat(SizeOf(dimension)));
  }
  return absl::StrCat("[", absl::StrJoin(sizes, ", "), "]");
}

bool IsBatch(const Dimension& dimension) { return IsOnly(dimension, Axis::kBatch) && dimension.size() == 1; }

}  // namespace

Converter::Converter(OnnxGraph& graph, Folder& folder)
    : graph_(graph), folder_(folder), builder_(ElementBudget(graph)), users_(CountUsers(graph)) {}

absl::Status Converter::Start() {
  live_.resize(graph_.values.size());
  const std::vector<int64_t>& sizes = graph_.image_sizes;
  if (sizes[0] > 0) batch_ = sizes[0];
  prunelab::Node image;
  image.mutable_image()->set_channels(sizes[1]);
  image.mutable_image()->set_height(sizes[2]);
  image.mutable_image()->set_width(sizes[3]);
  PRUNELAB_ASSIGN_OR_RETURN(const int built, builder_.Emit(image, {}, {}, {"image", 0}));
  live_[graph_.images] = Whole(built);
  return absl::OkStatus();
}

std::vector<bool> Converter::NeededNodes() const {
  std::vector<bool> values(graph_.values.size(), false), nodes(graph_.nodes.size(), false);
  for (const int output : graph_.outputs) values[output] = true;
  for (size_t i = graph_.nodes.size(); i-- > 0;) {
    const OnnxNode& node = graph_.nodes[i];
    nodes[i] = std::any_of(node.outputs.begin(), node.outputs.end(), [&](int v) { return v >= 0 && values[v]; });
    if (!nodes[i]) continue;
    for (const int input : node.inputs) {
      if (input >= 0) values[input] = true;
    }
  }
  return nodes;
}

absl::Status Converter::CheckConverted(const OnnxNode& node) const {
  for (const int output : node.outputs) {
    if (output < 0 || users_[output] == 0 || live_[output] || graph_.IsConstant(output)) continue;
    return NodeRefused(node, absl::StrCat("its output ", Quoted(graph_.values[output].name),
                                          " is used, which the network has no counterpart of"));
  }
  return absl::OkStatus();
}

absl::Status Converter::ConvertShape(const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, Input(node, 0));
  const std::vector<int64_t> sizes = SizesOf(live.view);
  if (node.op == "Size") {
    int64_t count = 1;
    for (const int64_t size : sizes) count *= size;
    graph_.values[node.outputs[0]].constant = at::scalar_tensor(count, at::kLong);
    return absl::OkStatus();
  }
  PRUNELAB_ASSIGN_OR_RETURN(graph_.values[node.outputs[0]].constant, ShapeTensor(node, sizes));
  return absl::OkStatus();
}

absl::Status Converter::Convert(int index) {
  const OnnxNode& node = graph_.nodes[index];
  const bool known = std::all_of(node.outputs.begin(), node.outputs.end(),
                                 [&](int value) { return value < 0 || graph_.IsConstant(value); });
  if (known) return absl::OkStatus();
  if (RepeatsBatch(node)) return ExpandImage(node);
  if (Folder::CanFold(graph_, node)) return folder_.Fold(graph_, index);
  if (node.outputs[0] >= 0 && (node.op == "Shape" || node.op == "Size")) return ConvertShape(node);
  const auto convert = Converters().find(node.op);
  if (convert == Converters().end()) {
    return NodeRefused(node, absl::StrCat("the operator is not known here; known are ", KnownOperators(),
                                          ", and operators on shapes and parameters"));
  }
  PRUNELAB_RETURN_IF_ERROR(convert->second(*this, node));
  return CheckConverted(node);
}

bool Converter::RepeatsBatch(const OnnxNode& node) const {
  if (node.op != "Expand" || node.inputs.size() != 2 || node.outputs.size() != 1) return false;
  if (!graph_.IsConstant(node.inputs[0]) || !graph_.IsConstant(node.inputs[1])) return false;
  const at::Tensor &constant = graph_.Constant(node.inputs[0]), &target = graph_.Constant(node.inputs[1]);
  return batch_ == kAnyBatch && constant.dim() >= 1 && constant.dim() == target.numel() && constant.size(0) == 1 &&
         target.scalar_type() == at::kLong && ToInts(target)[0] == batch_;
}

absl::Status Converter::ExpandImage(const OnnxNode& node) {
  const at::Tensor& constant = graph_.Constant(node.inputs[0]);
  const std::vector<int64_t> asked = ToInts(graph_.Constant(node.inputs[1]));
  for (int64_t k = 1; k < constant.dim(); ++k) {
    if (asked[static_cast<size_t>(k)] != 1 && asked[static_cast<size_t>(k)] != constant.size(k)) {
      return NodeRefused(node, "repeats a constant in more than the batch");
    }
  }
  graph_.values[node.outputs[0]].constant = constant;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int>> Converter::Outputs() {
  std::vector<int> outputs;
  for (const int value : graph_.outputs) {
    const std::string name = Quoted(graph_.values[value].name);
    if (!live_[value]) {
      return absl::InvalidArgumentError(absl::StrCat("output ", name, " does not depend on the images"));
    }
    OnnxNode output;  // names what is made for the output, and errors
    output.op = "output";
    output.name = graph_.values[value].name;
    PRUNELAB_ASSIGN_OR_RETURN(const Live live, AsIs(output, *live_[value]));
    live_[value] = live;
    if (std::count(outputs.begin(), outputs.end(), live.node) > 0) {
      return absl::InvalidArgumentError(absl::StrCat("output ", name, " is the same as an earlier output"));
    }
    outputs.push_back(live.node);
  }
  return outputs;
}

absl::Status Converter::Run(Network& network, std::map<std::string, at::Tensor>& tensors,
                            std::vector<std::string>& notes) {
  PRUNELAB_RETURN_IF_ERROR(Start());
  const std::vector<bool> needed = NeededNodes();
  for (int i = 0; i < static_cast<int>(graph_.nodes.size()); ++i) {
    if (needed[i]) PRUNELAB_RETURN_IF_ERROR(Convert(i));
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::vector<int> outputs, Outputs());
  builder_.Merge(outputs);
  network = builder_.Take(outputs, tensors);
  std::vector<std::string> shared;
  for (const auto& [value, owners] : owners_) {
    if (owners > 1) shared.push_back(absl::StrCat(graph_.values[value].name, " (", owners, " nodes)"));
  }
  constexpr size_t kShown = 5;
  if (!shared.empty()) {
    const bool cut = shared.size() > kShown;
    notes.push_back(absl::StrCat("nodes share parameters, of which each has its own copy now: ",
                                 absl::StrJoin(shared.begin(), shared.begin() + std::min(shared.size(), kShown), ", "),
                                 cut ? absl::StrCat(" and ", shared.size() - kShown, " more") : ""));
  }
  return absl::OkStatus();
}

absl::StatusOr<Live> Converter::Input(const OnnxNode& node, size_t k) {
  const int value = OnnxGraph::Input(node, k);
  if (value < 0) return NodeRefused(node, absl::StrCat("has no input ", k));
  if (live_[value]) return *live_[value];
  const at::Tensor& constant = graph_.Constant(value);
  if (constant.defined() && (constant.dim() == 2 || constant.dim() == 4) && constant.size(0) == 1) {
    PRUNELAB_ASSIGN_OR_RETURN(live_[value], ConstantAsLive(*this, node, constant, value));
    return *live_[value];
  }
  return NodeRefused(node, absl::StrCat("input ", k, ", ", Quoted(graph_.values[value].name),
                                        ", is a constant; must depend on the images"));
}

void Converter::SetOutput(const OnnxNode& node, size_t k, Live live) {
  if (k < node.outputs.size() && node.outputs[k] >= 0) live_[node.outputs[k]] = std::move(live);
}

void Converter::NoteShared(const OnnxNode& node, const std::vector<int>& parameters) {
  for (const int value : parameters) ++owners_[value];
}

absl::StatusOr<int> Converter::Emit(const OnnxNode& node, prunelab::Node op, std::vector<int> inputs,
                                    std::map<std::string, at::Tensor> tensors, const std::vector<int>& parameters) {
  NoteShared(node, parameters);
  const absl::StatusOr<int> built =
      builder_.Emit(std::move(op), std::move(inputs), std::move(tensors), NameOf(graph_, node, parameters));
  if (!built.ok()) return NodeRefused(node, built.status().message());
  return built;
}

absl::StatusOr<Live> Converter::EmitOn(const OnnxNode& node, prunelab::Node op, const Live& input,
                                       std::map<std::string, at::Tensor> tensors, const std::vector<int>& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const int built, Emit(node, std::move(op), {input.node}, std::move(tensors), parameters));
  return Live{built, input.view};
}

absl::StatusOr<Live> Converter::Selected(const OnnxNode& node, const Live& live, int d,
                                         const std::vector<int64_t>& indices) {
  int64_t others = 1;
  for (int k = 0; k < static_cast<int>(live.view.size()); ++k) {
    for (const Atom& atom : live.view[k]) others *= k != d && atom.axis == Axis::kChannels ? atom.size : 1;
  }
  if (d >= 0 && static_cast<int64_t>(indices.size()) > kMostChannels / others) {
    return NodeRefused(node, absl::StrCat("makes more than ", kMostChannels, " channels"));
  }
  Live selected = {live.node, WithOrderedChannels(live.view, d, static_cast<int64_t>(indices.size()))};
  if (d < 0 && selected.view == live.view) return live;  // in order already
  constexpr int64_t kMostSelected = 1 << 25;
  selected_ += others * (d < 0 ? 1 : static_cast<int64_t>(indices.size()));
  if (others > kMostChannels || selected_ > kMostSelected) return NodeRefused(node, "arranges too many channels");
  const std::vector<int64_t> order = ChannelOrder(live.view, d, indices);
  if (IsIdentity(order, shape(live).channels)) return selected;
  prunelab::Node op;
  for (const int64_t channel : order) op.mutable_select()->add_index(channel);
  PRUNELAB_ASSIGN_OR_RETURN(selected.node, Emit(node, op, {live.node}));
  return selected;
}

absl::StatusOr<Live> Converter::Unflattened(const OnnxNode& node, const Live& flat) {
  prunelab::Node op;
  op.mutable_unflatten();
  PRUNELAB_ASSIGN_OR_RETURN(const int built, Emit(node, op, {flat.node}));
  return Whole(built);
}

absl::StatusOr<Live> Converter::AsMap(const OnnxNode& node, const Live& live) {
  const View& view = live.view;
  const NodeShape in = shape(live);
  const bool pixels =
      view.size() == 4 && IsWhole(view[2], Axis::kHeight, in.height) && IsWhole(view[3], Axis::kWidth, in.width);
  const bool channels = view.size() == 4 && (view[1].empty() || IsOnly(view[1], Axis::kChannels));
  if (view.size() == 4 && IsBatch(view[0]) && channels && pixels) {
    PRUNELAB_ASSIGN_OR_RETURN(const Live ordered, Selected(node, live, -1, {}));
    if (!in.flat) return ordered;
    return Unflattened(node, ordered);
  }
  if (view.size() == 4 && view[2].empty() && view[3].empty()) {  // flattened maps as pixels
    PRUNELAB_ASSIGN_OR_RETURN(const Live flat, AsFlat(node, {live.node, {view[0], view[1]}}));
    return Unflattened(node, flat);
  }
  return NodeRefused(node, absl::StrCat("needs maps [batch, channels, height, width], but is given ", Text(view),
                                        view.size() == 4 ? " in another order of the dimensions" : ""));
}

absl::StatusOr<Live> Converter::AsFlat(const OnnxNode& node, const Live& live) {
  const View& view = live.view;
  if (view.size() != 2 || !IsBatch(view[0]) || HasAxis(view[1], Axis::kBatch)) {
    return NodeRefused(node, absl::StrCat("needs features [batch, features], but is given ", Text(view)));
  }
  const NodeShape in = shape(live);
  if (in.flat) return Selected(node, live, -1, {});
  prunelab::Node op;
  op.mutable_flatten();
  PRUNELAB_ASSIGN_OR_RETURN(const int built, Emit(node, op, {live.node}));
  // The same atoms as factors of the features.
  Live flat = {built, view};
  for (Atom& atom : flat.view[1]) {
    if (atom.axis == Axis::kChannels) atom.stride *= in.height * in.width;
    if (atom.axis == Axis::kHeight) atom.stride *= in.width;
    atom.axis = Axis::kChannels;
  }
  return Selected(node, flat, -1, {});
}

absl::StatusOr<Live> Converter::AsIs(const OnnxNode& node, const Live& live) {
  return live.view.size() == 2 ? AsFlat(node, live) : AsMap(node, live);
}

absl::StatusOr<int> Converter::MapInput(const OnnxNode& node, size_t k) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, Input(node, k));
  PRUNELAB_ASSIGN_OR_RETURN(const Live map, AsMap(node, live));
  live_[OnnxGraph::Input(node, k)] = map;  // what reads the value next has it as well
  return map.node;
}

absl::StatusOr<int> Converter::FlatInput(const OnnxNode& node, size_t k) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, Input(node, k));
  PRUNELAB_ASSIGN_OR_RETURN(const Live flat, AsFlat(node, live));
  live_[OnnxGraph::Input(node, k)] = flat;
  return flat.node;
}

}  // namespace prunelab
