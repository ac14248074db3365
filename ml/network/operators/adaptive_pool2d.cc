// The average or the maximum of as many windows as are wanted.
#include <ATen/ATen.h>

#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"
#include "ml/network/resampling.h"

namespace prunelab {
namespace {

class AdaptivePool2dOperator : public Operator {
 public:
  const char* Name() const override { return "adaptive pool"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const AdaptivePool2d& pool = node.adaptive_pool2d();
    if (pool.function() == AdaptivePool2d::UNSET) {
      return NodeError(node, "function is unset; must be one of AVERAGE, MAX");
    }
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "height", pool.height()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "width", pool.width()));
    return NodeShape{inputs[0].channels, pool.height(), pool.width(), false};
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const AdaptivePool2d& pool = view.node.adaptive_pool2d();
    const Computed computed = pool.function() == AdaptivePool2d::AVERAGE ? Computed::kByAverage : Computed::kByKind;
    const auto pooled = [&](const EqualRows& in, int64_t size) {
      RowSources sources;
      for (const RowRange& range : AdaptiveRows(in.size(), size)) {
        std::vector<int64_t>& rows = sources.emplace_back();
        for (int64_t row = range.first; row < range.end; ++row) rows.push_back(row);
      }
      return ComputedRows(in, sources, computed);
    };
    return ComputedPictures(inputs[0], pooled(inputs[0].rows, pool.height()), pooled(inputs[0].columns, pool.width()),
                            [&](const at::Tensor& x) { return RunAdaptivePool2d(pool, x); });
  }

  bool KeepsValues(const Node& node) const override { return node.adaptive_pool2d().function() == AdaptivePool2d::MAX; }
};

PRUNELAB_OPERATOR(Node::kAdaptivePool2D, AdaptivePool2dOperator);

}  // namespace
}  // namespace prunelab
