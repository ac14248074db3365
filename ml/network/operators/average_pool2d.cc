// The average of each window. Pixels of the padding count as zeros, or not at all.
#include <ATen/ATen.h>

#include "ml/network/operator.h"
#include "ml/network/operators/pool.h"
#include "ml/network/window_ops.h"

namespace prunelab {
namespace {

class AveragePool2dOperator : public Operator {
 public:
  const char* Name() const override { return "average pool"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const AveragePool2d& pool = node.average_pool2d();
    return PoolShape(node, pool, WindowOf(pool), /*needs_pixels=*/!pool.count_include_pad(), inputs[0]);
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const AveragePool2d& pool = view.node.average_pool2d();
    return Pooled(view, WindowOf(pool), Computed::kByAverage, /*outside=*/pool.count_include_pad(), inputs[0],
                  [&](const at::Tensor& x) { return RunAveragePool2d(pool, x); });
  }
};

PRUNELAB_OPERATOR(Node::kAveragePool2D, AveragePool2dOperator);

}  // namespace
}  // namespace prunelab
