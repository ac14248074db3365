// Maps of another size.
#include <ATen/ATen.h>

#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"
#include "ml/network/resampling.h"

namespace prunelab {
namespace {

EqualRows Resized(Resize::Function function, const EqualRows& in, int64_t size) {
  RowSources sources;
  for (const RowBlend& row : ResizedRows(function, in.size(), size)) {
    std::vector<int64_t>& key = sources.emplace_back(1, row.first);
    if (in.index()[row.first] == in.index()[row.second]) continue;
    key.push_back(row.second);
    key.push_back(-row.part);
  }
  return ComputedRows(in, sources, Computed::kByPlace);
}

class ResizeOperator : public Operator {
 public:
  const char* Name() const override { return "resize"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const Resize& resize = node.resize();
    if (resize.function() == Resize::UNSET) {
      return NodeError(node, "function is unset; must be one of NEAREST, BILINEAR, BILINEAR_ALIGNED");
    }
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "height", resize.height()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "width", resize.width()));
    return NodeShape{inputs[0].channels, resize.height(), resize.width(), false};
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const Resize& resize = view.node.resize();
    return ComputedPictures(inputs[0], Resized(resize.function(), inputs[0].rows, resize.height()),
                            Resized(resize.function(), inputs[0].columns, resize.width()),
                            [&](const at::Tensor& x) { return RunResize(resize, x); });
  }

  bool KeepsValues(const Node& node) const override { return node.resize().function() == Resize::NEAREST; }
};

PRUNELAB_OPERATOR(Node::kResize, ResizeOperator);

}  // namespace
}  // namespace prunelab
