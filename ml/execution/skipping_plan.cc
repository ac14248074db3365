#include "ml/execution/skipping_plan.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "ml/execution/conv_unit.h"
#include "ml/execution/folded_conv.h"
#include "ml/execution/norm_units.h"
#include "ml/execution/run_node.h"

namespace prunelab {
namespace {

// How a network falls into units. What belongs to none runs as it is.
struct Structure {
  std::vector<ConvUnit> units;
  std::vector<int> unit_at;         // by node: the unit whose output it is, or -1
  std::vector<int> unit_of_conv;    // by node: the unit that begins there, or -1
  std::vector<bool> inside;         // nodes whose output nobody sees
  std::vector<bool> reads_compact;  // nodes all of whose readers take some of the channels
  std::vector<bool> deferred;       // nodes whose only reader is a unit's convolution
  std::vector<FoldedConv> folded;   // inference without BN
  std::vector<int> folded_at;       // by node: the folded convolution whose output it is, or -1
  std::vector<int> folded_of_conv;  // by node: the one that begins there, or -1
  std::vector<bool> reads_filled;   // nodes all of whose readers are folded convolutions of it
};

class StructureFinder {
 public:
  // `folds`: whether convolutions without BN become folded ones.
  StructureFinder(const NetworkInfo& info, const ForwardOptions& options, bool folds)
      : info_(info), options_(options), folds_(folds), depends_on_image_(DependOnImage(info)) {
    const int size = info.network().node_size();
    structure_.unit_at.assign(size, -1);
    structure_.unit_of_conv.assign(size, -1);
    structure_.inside.assign(size, false);
    structure_.reads_compact.assign(size, false);
    structure_.deferred.assign(size, false);
    structure_.folded_at.assign(size, -1);
    structure_.folded_of_conv.assign(size, -1);
    structure_.reads_filled.assign(size, false);
  }

  Structure Find() {
    const int size = info_.network().node_size();
    AddUnits();
    for (int i = 0; i < size && folds_; ++i) {
      if (info_.node(i).op_case() == Node::kConv2D) AddFoldedConv(i);
    }
    for (int i = size - 1; i >= 0; --i) structure_.reads_compact[i] = ReadersTakeSome(i);
    for (int i = 0; i < size; ++i) {
      const int reader = OnlyReader(i);
      structure_.deferred[i] = reader >= 0 && structure_.unit_of_conv[reader] >= 0;
    }
    for (int i = 0; i < size; ++i) structure_.reads_filled[i] = ReadersTakeFilledUp(i);
    return std::move(structure_);
  }

 private:
  bool IsCaptured(int i) const { return options_.capture.count(info_.node(i).name()) > 0; }

  int OnlyReader(int i) const { return prunelab::OnlyReader(info_, options_.capture, i); }

  // Of each norm behind a convolution that nobody else reads.
  void AddUnits() {
    const auto behind_conv = [&](int norm) {
      const int conv = info_.inputs(norm)[0];
      const Node& node = info_.node(conv);
      return node.op_case() == Node::kConv2D && node.conv2d().groups() == 1 && OnlyReader(conv) == norm &&
             depends_on_image_[info_.inputs(conv)[0]];
    };
    for (const NormUnit& norm : FindNormUnits(info_, options_.capture, behind_conv)) {
      ConvUnit unit;
      unit.conv = info_.inputs(norm.norm)[0];
      unit.input = info_.inputs(unit.conv)[0];
      unit.norm = norm.norm;
      unit.add = norm.add;
      unit.relu = norm.relu;
      unit.other = norm.other;
      unit.output = norm.output;
      for (const int i : {unit.conv, unit.norm, unit.add, unit.relu}) {
        if (i >= 0) structure_.inside[i] = i != unit.output;
      }
      structure_.unit_at[unit.output] = structure_.unit_of_conv[unit.conv] = static_cast<int>(structure_.units.size());
      structure_.units.push_back(unit);
    }
  }

  void AddFoldedConv(int conv) {
    FoldedConv unit;
    unit.conv = unit.output = conv;
    unit.input = info_.inputs(conv)[0];
    unit.nodes = {conv};
    if (!depends_on_image_[unit.input] ||
        !CanFoldConv(info_.node(conv), info_.shape(unit.input), info_.shape(conv).channels)) {
      return;
    }
    // A network with BN computes the same whatever of it is captured.
    for (const int user : info_.users(conv)) {
      if (info_.node(user).op_case() == Node::kBatchNorm2D) return;
    }
    for (int next = OnlyReader(conv); next >= 0 && unit.relu < 0 && TakeIntoFoldedConv(next, unit);) {
      unit.output = next;
      unit.nodes.push_back(next);
      next = OnlyReader(next);
    }
    for (const int i : unit.nodes) structure_.inside[i] = i != unit.output;
    structure_.folded_at[unit.output] = structure_.folded_of_conv[conv] = static_cast<int>(structure_.folded.size());
    structure_.folded.push_back(unit);
  }

  // Whether node i, the only reader of what `unit` is so far, becomes part of it.
  bool TakeIntoFoldedConv(int i, FoldedConv& unit) const {
    const Node& node = info_.node(i);
    const bool whole = info_.shape(i).channels % 8 == 0;
    if (node.op_case() == Node::kRelu) {
      unit.relu = i;
      return true;
    }
    if (node.op_case() == Node::kScatter) {
      const auto& index = node.scatter().index();
      if (!whole || unit.scatter >= 0 || unit.other >= 0 || !std::is_sorted(index.begin(), index.end())) return false;
      unit.scatter = i;
      unit.inner_constants.swap(unit.constants);
      return true;
    }
    // A sum may be another unit's already.
    if (node.op_case() != Node::kAdd || structure_.inside[i] || structure_.unit_at[i] >= 0 ||
        structure_.folded_at[i] >= 0) {
      return false;
    }
    int other = unit.other;
    std::vector<int> constants = unit.constants;
    int own = 0;
    for (const int j : info_.inputs(i)) {
      if (j == unit.output) {
        ++own;
      } else if (!depends_on_image_[j]) {
        constants.push_back(j);
      } else if (other < 0 && whole) {
        other = j;
      } else {
        return false;
      }
    }
    if (own != 1) return false;
    unit.other = other;
    unit.constants = constants;
    return true;
  }

  bool ReadersTakeFilledUp(int i) const {
    if (info_.users(i).empty() || IsCaptured(i) || structure_.folded_at[i] < 0) return false;
    for (const int user : info_.users(i)) {
      if (structure_.folded_of_conv[user] < 0) return false;
    }
    return true;
  }

  bool ReadersTakeSome(int i) const {
    if (info_.users(i).empty() || IsCaptured(i)) return false;
    for (const int user : info_.users(i)) {
      const bool pool = info_.node(user).op_case() == Node::kMaxPool2D && structure_.reads_compact[user];
      if (structure_.unit_of_conv[user] < 0 && !pool) return false;
    }
    return true;
  }

  const NetworkInfo& info_;
  const ForwardOptions& options_;
  const bool folds_;
  const std::vector<bool> depends_on_image_;
  Structure structure_;
};

// Runs node `i` as it is. Some of the channels come only to a max pooling, which treats each alike.
Activation RunPlainNode(Model& model, int i, const std::vector<Activation>& outputs, const ForwardOptions& options,
                        int64_t* macs) {
  const NetworkInfo& info = model.info();
  std::vector<at::Tensor> in;
  for (const int j : info.inputs(i)) in.push_back(outputs[j].tensor);
  Activation result;
  const bool needs_gradient = !in.empty() && in[0].requires_grad();
  result.tensor = RunNode(model, info.node(i), in, options, MayOverwrite(info, i, options));
  if (in.size() == 1) result.channels = outputs[info.inputs(i)[0]].channels;
  *macs += info.MacCount(i) * (1 + (result.tensor.requires_grad() ? 1 : 0) + (needs_gradient ? 1 : 0));
  return result;
}

at::Tensor RunFolded(const Model& model, const FoldedConv& unit, const std::vector<Activation>& outputs,
                     const std::vector<int>& users_left, const ForwardOptions& options, bool filled_up) {
  FoldedConvInputs inputs;
  inputs.x = outputs[unit.input].tensor;
  if (unit.other >= 0) {
    const Node& other = model.info().node(unit.other);
    inputs.addend = outputs[unit.other].tensor;
    inputs.overwrite_addend =
        users_left[unit.other] == 1 && other.op_case() != Node::kImage && options.capture.count(other.name()) == 0;
  }
  for (const int i : unit.inner_constants) inputs.inner_constants.push_back(outputs[i].tensor.detach());
  for (const int i : unit.constants) inputs.constants.push_back(outputs[i].tensor.detach());
  return RunFoldedConv(model, unit, inputs, filled_up);
}

}  // namespace

ForwardResult SkippingPlan::Forward(Model& model, const at::Tensor& images, const ForwardOptions& options) {
  const bool supported_type = model.dtype() == at::kFloat || model.dtype() == at::kDouble;
  if (!model.device().is_cpu() || !supported_type || (options.mode == Mode::kEvaluate && at::GradMode::is_enabled())) {
    return ReferencePlan().Forward(model, images, options);
  }
  const NetworkInfo& info = model.info();
  const NodeShape& declared = info.input_shape();
  const bool folds = options.mode == Mode::kEvaluate && model.dtype() == at::kFloat &&
                     images.sizes().slice(1) == at::IntArrayRef({declared.channels, declared.height, declared.width});
  const Structure structure = StructureFinder(info, options, folds).Find();
  const int size = info.network().node_size();
  ForwardResult result;
  std::vector<Activation> outputs(size);
  std::vector<int> users_left(size);
  for (int i = 0; i < size; ++i) users_left[i] = static_cast<int>(info.users(i).size());
  for (int i = 0; i < size; ++i) {
    if (structure.inside[i]) continue;
    std::vector<int> inputs = info.inputs(i);
    if (structure.unit_at[i] >= 0) {
      const ConvUnit& unit = structure.units[structure.unit_at[i]];
      inputs = {unit.input};
      if (unit.other >= 0) inputs.push_back(unit.other);
      outputs[i] = RunConvUnit(
          model, unit, outputs[unit.input], unit.other >= 0 ? outputs[unit.other].tensor : at::Tensor(), options,
          {structure.reads_compact[i], structure.deferred[i]}, users_left[unit.input] > 1, &result.executed_macs);
    } else if (structure.folded_at[i] >= 0) {
      const FoldedConv& unit = structure.folded[structure.folded_at[i]];
      inputs = {unit.input};
      if (unit.other >= 0) inputs.push_back(unit.other);
      inputs.insert(inputs.end(), unit.inner_constants.begin(), unit.inner_constants.end());
      inputs.insert(inputs.end(), unit.constants.begin(), unit.constants.end());
      outputs[i].tensor = RunFolded(model, unit, outputs, users_left, options, structure.reads_filled[i]);
      result.executed_macs += info.MacCount(unit.conv);
    } else if (info.node(i).op_case() == Node::kImage) {
      outputs[i].tensor = images;
    } else {
      outputs[i] = RunPlainNode(model, i, outputs, options, &result.executed_macs);
    }
    if (options.capture.count(info.node(i).name())) result.captured[info.node(i).name()] = outputs[i].tensor;
    for (const int j : inputs) {
      if (--users_left[j] == 0) outputs[j] = Activation();
    }
  }
  result.logits = outputs[size - 1].tensor;
  return result;
}

}  // namespace prunelab
