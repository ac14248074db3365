// Batch normalization of each channel.
#include <ATen/ATen.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class BatchNorm2dOperator : public Operator {
 public:
  const char* Name() const override { return "batch norm"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const BatchNorm2d& norm = node.batch_norm2d();
    if (!(norm.epsilon() > 0) || !std::isfinite(norm.epsilon())) {
      return NodeError(node, absl::StrCat("epsilon is ", norm.epsilon(), "; must be above 0, and finite"));
    }
    if (!(norm.momentum() >= 0 && norm.momentum() <= 1)) {
      return NodeError(node, absl::StrCat("momentum is ", norm.momentum(), "; must be from 0 to 1"));
    }
    return inputs[0];
  }

  std::vector<NodeParameter> Parameters(const NodeView& view) const override {
    const int64_t channels = view.shape.channels;
    NodeParameter weight = {"weight", {channels}};
    NodeParameter running_var = {"running_var", {channels}, /*is_buffer=*/true};
    weight.initial = running_var.initial = 1;
    running_var.allowed = Allowed::kNotNegative;
    return {weight,
            {"bias", {channels}},
            {"running_mean", {channels}, /*is_buffer=*/true},
            running_var,
            {"num_batches_tracked", {}, /*is_buffer=*/true, /*is_integer=*/true}};
  }

  // A channel whose scale is zero is constant, whatever comes in.
  at::Tensor Passes(const NodeView& view, const NodeValues& values,
                    const std::vector<at::Tensor>& may_differ_from_zero) const override {
    return values("weight").ne(0);
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const auto channel = [&](const char* suffix) { return values(suffix).to(at::kDouble).view({-1, 1, 1}); };
    const at::Tensor scale = channel("weight") / (channel("running_var") + view.node.batch_norm2d().epsilon()).sqrt();
    const at::Tensor shift = channel("bias") - channel("running_mean") * scale;
    return {inputs[0].values * scale + shift, inputs[0].rows, inputs[0].columns};
  }
};

PRUNELAB_OPERATOR(Node::kBatchNorm2D, BatchNorm2dOperator);

}  // namespace
}  // namespace prunelab
