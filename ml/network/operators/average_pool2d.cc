// The average of each window. Pixels outside count as zeros.
#include <ATen/ATen.h>

#include "ml/network/operator.h"
#include "ml/network/operators/pool.h"

namespace prunelab {
namespace {

class AveragePool2dOperator : public Operator {
 public:
  const char* Name() const override { return "average pool"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    return PoolShape(node, node.average_pool2d(), inputs[0]);
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const AveragePool2d& pool = view.node.average_pool2d();
    return Pooled(view, pool, Border::kAverage, inputs[0],
                  [&](const at::Tensor& x) { return at::avg_pool2d(x, pool.kernel(), pool.stride(), pool.padding()); });
  }
};

PRUNELAB_OPERATOR(Node::kAveragePool2D, AveragePool2dOperator);

}  // namespace
}  // namespace prunelab
