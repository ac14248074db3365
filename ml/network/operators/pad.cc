// Pixels around maps.
#include <ATen/ATen.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"
#include "ml/network/resampling.h"

namespace prunelab {
namespace {

absl::Status CheckReflected(const Node& node, const char* what, int64_t pad, int64_t size) {
  if (pad < size) return absl::OkStatus();
  return NodeError(node, absl::StrCat("reflects ", pad, " ", what, " of ", size, "; must be fewer than there are"));
}

class PadOperator : public Operator {
 public:
  const char* Name() const override { return "pad"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const Pad& pad = node.pad();
    NodeShape out = inputs[0];
    if (pad.pads().empty()) return NodeError(node, "has no pads; needs 4: top, left, bottom, right");
    PRUNELAB_RETURN_IF_ERROR(CheckPads(node, pad.pads()));
    if (!std::isfinite(pad.value())) return NodeError(node, absl::StrCat("value is ", pad.value(), "; must be finite"));
    for (int side = 0; side < 4 && pad.function() == Pad::REFLECT; ++side) {
      PRUNELAB_RETURN_IF_ERROR(side % 2 == 0 ? CheckReflected(node, "rows", pad.pads(side), out.height)
                                             : CheckReflected(node, "columns", pad.pads(side), out.width));
    }
    out.height += pad.pads(0) + pad.pads(2);
    out.width += pad.pads(1) + pad.pads(3);
    return out;
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const Pad& pad = view.node.pad();
    const auto padded = [&](const EqualRows& in, int64_t before, int64_t after) {
      RowSources sources;
      for (const int64_t row : PaddedRows(pad.function(), in.size(), before, after)) sources.push_back({row});
      return ComputedRows(in, sources, Computed::kByPlace);
    };
    return ComputedPictures(inputs[0], padded(inputs[0].rows, pad.pads(0), pad.pads(2)),
                            padded(inputs[0].columns, pad.pads(1), pad.pads(3)),
                            [&](const at::Tensor& x) { return RunPad(pad, x); });
  }

  bool PassesOn(const Node& node, int64_t input_channels) const override {
    for (const int64_t pad : node.pad().pads()) {
      if (pad != 0) return false;
    }
    return true;
  }

  bool KeepsValues(const Node& node) const override {
    return node.pad().function() != Pad::CONSTANT || node.pad().value() == 0;
  }
};

PRUNELAB_OPERATOR(Node::kPad, PadOperator);

}  // namespace
}  // namespace prunelab
