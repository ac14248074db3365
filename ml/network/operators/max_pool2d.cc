// The largest value of each window. Pixels outside are as if they were not there.
#include <ATen/ATen.h>

#include "ml/network/operator.h"
#include "ml/network/operators/pool.h"
#include "ml/network/window_ops.h"

namespace prunelab {
namespace {

class MaxPool2dOperator : public Operator {
 public:
  const char* Name() const override { return "max pool"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const MaxPool2d& pool = node.max_pool2d();
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "dilation", pool.dilation()));
    return PoolShape(node, pool, WindowOf(pool), /*needs_pixels=*/true, inputs[0]);
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const MaxPool2d& pool = view.node.max_pool2d();
    return Pooled(view, WindowOf(pool), Computed::kByKind, /*outside=*/false, inputs[0],
                  [&](const at::Tensor& x) { return RunMaxPool2d(pool, x); });
  }

  bool KeepsValues(const Node& node) const override { return true; }
};

PRUNELAB_OPERATOR(Node::kMaxPool2D, MaxPool2dOperator);

}  // namespace
}  // namespace prunelab
