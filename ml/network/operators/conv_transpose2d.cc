// Transposed convolution, with groups.
#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"
#include "ml/network/window_ops.h"

namespace prunelab {
namespace {

// [groups * a, b, height, width] as [groups * b, a, height, width].
at::Tensor Turned(const at::Tensor& weight, int64_t groups) {
  return weight.reshape({groups, weight.size(0) / groups, weight.size(1), weight.size(2), weight.size(3)})
      .transpose(1, 2)
      .reshape({groups * weight.size(1), weight.size(0) / groups, weight.size(2), weight.size(3)})
      .contiguous();
}

absl::Status CheckAxis(const Node& node, const TransposedAxis& axis) {
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "kernel", axis.kernel));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "stride", axis.stride));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "dilation", axis.dilation));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "padding", axis.padding, 0));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "output_padding", axis.output_padding, 0));
  if (axis.output_padding < axis.stride || axis.output_padding < axis.dilation) return absl::OkStatus();
  return NodeError(node, absl::StrCat("output_padding is ", axis.output_padding, "; must be below the stride ",
                                      axis.stride, " or the dilation ", axis.dilation));
}

class ConvTranspose2dOperator : public Operator {
 public:
  const char* Name() const override { return "transposed conv"; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const ConvTranspose2d& conv = node.conv_transpose2d();
    const TransposedWindow window = WindowOf(conv);
    const NodeShape& in = inputs[0];
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "out_channels", conv.out_channels()));
    PRUNELAB_RETURN_IF_ERROR(CheckAxis(node, window.down));
    PRUNELAB_RETURN_IF_ERROR(CheckAxis(node, window.across));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "dilation", conv.dilation()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "groups", conv.groups()));
    if (in.channels % conv.groups() != 0 || conv.out_channels() % conv.groups() != 0) {
      return NodeError(node, absl::StrCat("groups ", conv.groups(), " must divide the ", in.channels,
                                          " input channels and the ", conv.out_channels(), " output channels"));
    }
    return NodeShape{conv.out_channels(), window.down.Size(in.height), window.across.Size(in.width), false};
  }

  std::vector<NodeParameter> Parameters(const NodeView& view) const override {
    const ConvTranspose2d& conv = view.node.conv_transpose2d();
    std::vector<NodeParameter> parameters = {
        {"weight",
         {view.inputs[0].channels, conv.out_channels() / conv.groups(), conv.kernel_height(), conv.kernel_width()}}};
    if (conv.bias()) parameters.push_back({"bias", {conv.out_channels()}});
    return parameters;
  }

  std::vector<int64_t> MacFactors(const NodeView& view) const override {
    const ConvTranspose2d& conv = view.node.conv_transpose2d();
    const NodeShape& in = view.inputs[0];
    return {in.channels,          in.height,          in.width, conv.out_channels() / conv.groups(),
            conv.kernel_height(), conv.kernel_width()};
  }

  ChannelRelation Channels(const NodeView& view) const override {
    ChannelRelation relation;
    relation.kind = ChannelRelation::Kind::kMixed;
    relation.groups = view.node.conv_transpose2d().groups();
    return relation;
  }

  at::Tensor ByOutput(const at::Tensor& weight, int64_t groups) const override { return Turned(weight, groups); }
  at::Tensor FromByOutput(const at::Tensor& weight, int64_t groups) const override { return Turned(weight, groups); }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    const ConvTranspose2d& conv = view.node.conv_transpose2d();
    const TransposedWindow window = WindowOf(conv);
    const at::Tensor weight = Turned(values("weight").to(at::kDouble), conv.groups());
    return ComputedPictures(
        inputs[0], TransposedRows(inputs[0].rows, window.down), TransposedRows(inputs[0].columns, window.across),
        [&](const at::Tensor& x) { return RunConvTranspose2d(window, x, weight, {}, conv.groups()); });
  }

  void Narrow(Node& node, const RemainingChannels& remaining) const override {
    ConvTranspose2d* conv = node.mutable_conv_transpose2d();
    const int64_t groups = conv->groups();
    conv->set_out_channels(remaining.outputs.sum().item<int64_t>());
    if (groups > 1) conv->set_groups(remaining.outputs.view({groups, -1}).any(1).sum().item<int64_t>());
  }

  void AddBias(Node& node) const override { node.mutable_conv_transpose2d()->set_bias(true); }
};

PRUNELAB_OPERATOR(Node::kConvTranspose2D, ConvTranspose2dOperator);

}  // namespace
}  // namespace prunelab
