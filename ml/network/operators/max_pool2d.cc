// The largest value of each window. Pixels outside are as if they were not there.
#include <ATen/ATen.h>

#include "ml/network/operator.h"
#include "ml/network/operators/pool.h"

namespace prunelab {
namespace {

class MaxPool2dOperator : public Operator {
 public:
  const char* Name() const override { return "max pool"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    return PoolShape(node, node.max_pool2d(), inputs[0]);
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const MaxPool2d& pool = view.node.max_pool2d();
    return Pooled(view, pool, Border::kIgnored, inputs[0],
                  [&](const at::Tensor& x) { return at::max_pool2d(x, pool.kernel(), pool.stride(), pool.padding()); });
  }
};

PRUNELAB_OPERATOR(Node::kMaxPool2D, MaxPool2dOperator);

}  // namespace
}  // namespace prunelab
