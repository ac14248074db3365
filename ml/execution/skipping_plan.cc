#include "ml/execution/skipping_plan.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ml/execution/conv_step.h"
#include "ml/execution/conv_unit.h"
#include "ml/execution/folded_conv.h"
#include "ml/execution/node_step.h"
#include "ml/execution/norm_step.h"
#include "ml/execution/norm_units.h"
#include "ml/network/window.h"

namespace prunelab {
namespace {

// How a network is divided into units. Nodes outside of all units run as they are.
struct Units {
  std::vector<ConvUnit> convs;
  std::vector<NormUnit> norms;      // of norms that are in no ConvUnit
  std::vector<int> unit_at;         // by node: the unit that outputs it, or -1
  std::vector<int> unit_of_conv;    // by node: the unit that begins there, or -1
  std::vector<int> norm_at;         // by node: the NormUnit that outputs it, or -1
  std::vector<int> clipped_at;      // by node: the convolution whose step does this clip too, at inference, or -1
  std::vector<bool> inside;         // nodes whose output only their unit sees
  std::vector<bool> reads_compact;  // nodes all of whose consumers take some of the channels
  std::vector<bool> deferred;       // nodes whose only consumer is a unit's convolution
  std::vector<FoldedConv> folded;   // inference without BN
  std::vector<int> folded_at;       // by node: the folded convolution that outputs it, or -1
  std::vector<int> folded_of_conv;  // by node: the one that begins there, or -1
  std::vector<bool> reads_filled;   // nodes that only folded convolutions read, as their input or as what they add
};

class UnitFinder {
 public:
  // `captured`: nodes, by name, whose values are wanted. `folds`: whether convolutions without BN become folded ones.
  UnitFinder(const NetworkInfo& info, const std::set<std::string>& captured, bool folds)
      : info_(info), captured_(captured), folds_(folds), depends_on_image_(DependOnImage(info)) {
    const int size = info.network().node_size();
    units_.unit_at.assign(size, -1);
    units_.unit_of_conv.assign(size, -1);
    units_.norm_at.assign(size, -1);
    units_.clipped_at.assign(size, -1);
    units_.inside.assign(size, false);
    units_.reads_compact.assign(size, false);
    units_.deferred.assign(size, false);
    units_.folded_at.assign(size, -1);
    units_.folded_of_conv.assign(size, -1);
    units_.reads_filled.assign(size, false);
    sums_other_.assign(size, -1);
  }

  Units Find() {
    const int size = info_.network().node_size();
    AddUnits();
    for (int i = 0; i < size && folds_; ++i) {
      if (info_.node(i).op_case() == Node::kConv2D) AddFoldedConv(i);
    }
    for (int i = size - 1; i >= 0; --i) units_.reads_compact[i] = ReadersTakeSome(i);
    for (int i = 0; i < size; ++i) {
      const int reader = OnlyReader(i);
      units_.deferred[i] = reader >= 0 && units_.unit_of_conv[reader] >= 0;
    }
    for (int i = 0; i < size; ++i) units_.reads_filled[i] = ReadersTakeFilledUp(i);
    return std::move(units_);
  }

 private:
  bool IsCaptured(int i) const { return captured_.count(info_.node(i).name()) > 0; }

  int OnlyReader(int i) const { return prunelab::OnlyReader(info_, captured_, i); }

  // Of each norm: with the convolution before it, if it is its only consumer.
  void AddUnits() {
    const auto follows_conv = [&](int norm) {
      const int conv = info_.inputs(norm)[0];
      const Node& node = info_.node(conv);
      return node.op_case() == Node::kConv2D && node.conv2d().groups() == 1 && WindowOf(node.conv2d()).HasEqualPads() &&
             OnlyReader(conv) == norm && depends_on_image_[info_.inputs(conv)[0]];
    };
    for (const NormUnit& norm : FindNormUnits(info_, captured_, /*ceilings=*/true, [](int) { return true; })) {
      if (!follows_conv(norm.norm)) {
        for (const int i : {norm.norm, norm.add, norm.relu}) {
          if (i >= 0) units_.inside[i] = i != norm.output;
        }
        units_.norm_at[norm.output] = static_cast<int>(units_.norms.size());
        units_.norms.push_back(norm);
        continue;
      }
      ConvUnit unit;
      unit.conv = info_.inputs(norm.norm)[0];
      unit.input = info_.inputs(unit.conv)[0];
      unit.norm = norm.norm;
      unit.add = norm.add;
      unit.relu = norm.relu;
      unit.other = norm.other;
      unit.output = norm.output;
      unit.ceiling = norm.ceiling;
      for (const int i : {unit.conv, unit.norm, unit.add, unit.relu}) {
        if (i >= 0) units_.inside[i] = i != unit.output;
      }
      units_.unit_at[unit.output] = units_.unit_of_conv[unit.conv] = static_cast<int>(units_.convs.size());
      units_.convs.push_back(unit);
    }
  }

  void AddFoldedConv(int conv) {
    const int reader = OnlyReader(conv);
    if (reader >= 0 &&
        CanClip(info_.node(conv).conv2d(), info_.shape(info_.inputs(conv)[0]).channels, info_.node(reader))) {
      units_.inside[conv] = true;
      units_.clipped_at[reader] = conv;
      return;
    }
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
    for (const int i : unit.nodes) {
      units_.inside[i] = i != unit.output;
      if (info_.node(i).op_case() == Node::kAdd) sums_other_[i] = unit.other;
    }
    units_.folded_at[unit.output] = units_.folded_of_conv[conv] = static_cast<int>(units_.folded.size());
    units_.folded.push_back(unit);
  }

  // Whether node i, the only consumer of what `unit` is so far, becomes part of it.
  bool TakeIntoFoldedConv(int i, FoldedConv& unit) const {
    const Node& node = info_.node(i);
    if (node.op_case() == Node::kRelu) {
      unit.relu = i;
      return true;
    }
    if (node.op_case() == Node::kScatter) {
      const auto& index = node.scatter().index();
      if (unit.scatter >= 0 || unit.other >= 0 || !std::is_sorted(index.begin(), index.end())) return false;
      unit.scatter = i;
      unit.inner_constants.swap(unit.constants);
      return true;
    }
    // A sum may already belong to another unit.
    if (node.op_case() != Node::kAdd || units_.inside[i] || units_.unit_at[i] >= 0 || units_.norm_at[i] >= 0 ||
        units_.folded_at[i] >= 0) {
      return false;
    }
    // What the sum repeats at each pixel is not added in the convolution, unless it is a constant.
    const auto is_as_large = [&](int j) {
      return info_.shape(j).height == info_.shape(i).height && info_.shape(j).width == info_.shape(i).width;
    };
    if (!is_as_large(unit.output)) return false;
    int other = unit.other;
    std::vector<int> constants = unit.constants;
    int own = 0;
    for (const int j : info_.inputs(i)) {
      if (j == unit.output) {
        ++own;
      } else if (!depends_on_image_[j]) {
        constants.push_back(j);
      } else if (other < 0 && is_as_large(j)) {
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
    if (info_.users(i).empty() || IsCaptured(i) || units_.folded_at[i] < 0) return false;
    for (const int user : info_.users(i)) {
      if (units_.folded_of_conv[user] < 0 && sums_other_[user] != i) return false;
    }
    return true;
  }

  bool ReadersTakeSome(int i) const {
    if (info_.users(i).empty() || IsCaptured(i)) return false;
    for (const int user : info_.users(i)) {
      const bool pool = info_.node(user).op_case() == Node::kMaxPool2D && units_.reads_compact[user];
      if (units_.unit_of_conv[user] < 0 && !pool) return false;
    }
    return true;
  }

  const NetworkInfo& info_;
  const std::set<std::string>& captured_;
  const bool folds_;
  const std::vector<bool> depends_on_image_;
  std::vector<int> sums_other_;  // by sum in a folded convolution: what that adds, or -1; -1 for all other nodes
  Units units_;
};

// Whether convolutions without BN are folded: their kernels are for evaluation in float, of maps as large as the
// network declares them.
bool Folds(const PlanStructure& structure) {
  const NodeShape& declared = structure.network->input_shape();
  return structure.mode == Mode::kEvaluate && structure.dtype == at::kFloat &&
         structure.image == std::vector<int64_t>{declared.channels, declared.height, declared.width};
}

}  // namespace

CompiledPlan SkippingPlan::Compile(PlanStructure structure) const {
  const bool supported_type = structure.dtype == at::kFloat || structure.dtype == at::kDouble;
  if (structure.device != at::kCPU || !supported_type || (structure.mode == Mode::kEvaluate && structure.gradients)) {
    return ReferencePlan().Compile(std::move(structure));
  }
  PlanBuilder builder(std::move(structure));
  const NetworkInfo& network = builder.network();
  const Units units = UnitFinder(network, builder.structure().capture, Folds(builder.structure())).Find();
  for (int i = 0; i < network.network().node_size(); ++i) {
    if (units.inside[i]) continue;
    if (units.unit_at[i] >= 0) {
      AddConvUnitStep(builder, units.convs[units.unit_at[i]], {units.reads_compact[i], units.deferred[i]});
    } else if (units.norm_at[i] >= 0) {
      AddNormStep(builder, units.norms[units.norm_at[i]]);
    } else if (units.folded_at[i] >= 0) {
      AddFoldedConvStep(builder, units.folded[units.folded_at[i]], units.reads_filled[i]);
    } else if (units.clipped_at[i] >= 0) {
      AddConvStep(builder, units.clipped_at[i], i);
    } else if (network.node(i).op_case() == Node::kConv2D) {
      AddConvStep(builder, i);
    } else {
      // Where some channels are missing it is a max pooling.
      AddNodeStep(builder, i);
    }
  }
  return std::move(builder).Build();
}

}  // namespace prunelab
