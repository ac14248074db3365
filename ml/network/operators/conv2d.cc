// Convolution, with groups.
#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"
#include "ml/network/window.h"
#include "ml/network/window_ops.h"

namespace prunelab {
namespace {

class Conv2dOperator : public Operator {
 public:
  const char* Name() const override { return "conv"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const Conv2d& conv = node.conv2d();
    const NodeShape& in = inputs[0];
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "out_channels", conv.out_channels()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "kernel_height", conv.kernel_height()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "kernel_width", conv.kernel_width()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "stride", conv.stride()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "padding", conv.padding(), 0));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "dilation", conv.dilation()));
    const Window window = WindowOf(conv);
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "stride_width", window.across.stride));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "dilation_width", window.across.dilation));
    PRUNELAB_RETURN_IF_ERROR(CheckPads(node, conv.pads()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "groups", conv.groups()));
    PRUNELAB_RETURN_IF_ERROR(CheckDeviation(node, "initial_deviation", conv.initial_deviation()));
    const bool has_pads = std::any_of(conv.pads().begin(), conv.pads().end(), [](int64_t pad) { return pad != 0; });
    if (conv.initial_identity() &&
        (conv.kernel_height() != 1 || conv.kernel_width() != 1 || conv.groups() != 1 || window.down.stride != 1 ||
         window.across.stride != 1 || conv.padding() != 0 || has_pads || conv.has_weight_bits())) {
      return NodeError(node, "initial_identity is for 1x1 kernels of stride 1 without groups, padding and weight_bits");
    }
    if (conv.has_weight_bits()) {
      PRUNELAB_RETURN_IF_ERROR(CheckBits(node, "weight_bits", conv.weight_bits()));
    }
    if (in.channels % conv.groups() != 0 || conv.out_channels() % conv.groups() != 0) {
      return NodeError(node, absl::StrCat("groups ", conv.groups(), " must divide the ", in.channels,
                                          " input channels and the ", conv.out_channels(), " output channels"));
    }
    NodeShape out;
    out.channels = conv.out_channels();
    PRUNELAB_ASSIGN_OR_RETURN(out.height, WindowOutput(node, in.height, window.down));
    PRUNELAB_ASSIGN_OR_RETURN(out.width, WindowOutput(node, in.width, window.across));
    return out;
  }

  std::vector<NodeParameter> Parameters(const NodeView& view) const override {
    const Conv2d& conv = view.node.conv2d();
    std::vector<NodeParameter> parameters = {
        {"weight",
         {conv.out_channels(), view.inputs[0].channels / conv.groups(), conv.kernel_height(), conv.kernel_width()}}};
    if (conv.bias()) parameters.push_back({"bias", {conv.out_channels()}});
    if (conv.has_weight_bits()) parameters.push_back(WeightScale(conv.out_channels()));
    return parameters;
  }

  std::vector<int64_t> MacFactors(const NodeView& view) const override {
    const Conv2d& conv = view.node.conv2d();
    return {view.shape.channels,  view.shape.height,  view.shape.width, view.inputs[0].channels / conv.groups(),
            conv.kernel_height(), conv.kernel_width()};
  }

  ChannelRelation Channels(const NodeView& view) const override {
    ChannelRelation relation;
    relation.kind = ChannelRelation::Kind::kMixed;
    relation.groups = view.node.conv2d().groups();
    return relation;
  }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const Conv2d& conv = view.node.conv2d();
    const Window window = WindowOf(conv);
    const at::Tensor weight = values("weight").to(at::kDouble);
    const auto rows = [](const EqualRows& in, const WindowAxis& axis) {
      return SlidRows(in, axis, Computed::kByPlace, /*outside=*/true);
    };
    return ComputedPictures(inputs[0], rows(inputs[0].rows, window.down), rows(inputs[0].columns, window.across),
                            [&](const at::Tensor& x) { return RunConv2d(window, x, weight, {}, conv.groups()); });
  }

  void Narrow(Node& node, const RemainingChannels& remaining) const override {
    const int64_t groups = node.conv2d().groups();
    node.mutable_conv2d()->set_out_channels(remaining.outputs.sum().item<int64_t>());
    if (groups == 1) return;
    node.mutable_conv2d()->set_groups(remaining.outputs.view({groups, -1}).any(1).sum().item<int64_t>());
  }

  void AddBias(Node& node) const override { node.mutable_conv2d()->set_bias(true); }
};

PRUNELAB_OPERATOR(Node::kConv2D, Conv2dOperator);

}  // namespace
}  // namespace prunelab
