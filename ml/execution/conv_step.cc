#include "ml/execution/conv_step.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/execution/run_node.h"
#include "ml/execution/unit_conv.h"
#include "ml/kernels/depthwise/depthwise.h"
#include "ml/network/window.h"

namespace prunelab {
namespace {

constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

// As depthwise.h describes such a convolution of `x`; there is none without a value.
std::optional<DepthwiseShape> DepthwiseOf(const Conv2d& conv, const at::Tensor& x) {
  const Window window = WindowOf(conv);
  if (conv.groups() != x.size(1) || conv.out_channels() != x.size(1) || x.scalar_type() != at::kFloat ||
      window.down.dilation != 1 || window.across.dilation != 1) {
    return std::nullopt;
  }
  const auto axis = [](const WindowAxis& of, int64_t size) {
    return DepthwiseAxis{size, of.Positions(size), of.kernel, of.stride, of.before};
  };
  const DepthwiseShape shape{x.size(0), x.size(1), axis(window.down, x.size(2)), axis(window.across, x.size(3))};
  if (!HasDepthwise(shape)) return std::nullopt;
  return shape;
}

at::Tensor Depthwise(const DepthwiseShape& shape, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     DepthwiseOutput output = {}) {
  const at::Tensor y =
      at::empty({shape.images, shape.channels, shape.down.outputs, shape.across.outputs}, x.options(), kChannelsLast);
  const at::Tensor from = x.contiguous(kChannelsLast), taps = weight.contiguous();
  output.bias = Data<float>(bias);
  DepthwiseForward(shape, from.const_data_ptr<float>(), taps.const_data_ptr<float>(), output,
                   y.mutable_data_ptr<float>());
  return y;
}

struct DepthwiseFunction : torch::autograd::Function<DepthwiseFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const Conv2d& conv) {
    const at::Tensor from = x.contiguous(kChannelsLast);
    context->saved_data["conv"] = conv.SerializeAsString();
    context->save_for_backward({from, weight});
    return Depthwise(*DepthwiseOf(conv, from), from, weight, bias.value_or(at::Tensor()));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradient) {
    PRUNELAB_CHECK(!at::GradMode::is_enabled()) << "only the reference plan is twice differentiable";
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    Conv2d conv;
    conv.ParseFromString(context->saved_data["conv"].toStringRef());
    const DepthwiseShape shape = *DepthwiseOf(conv, x);
    const at::Tensor dy = gradient[0].contiguous(kChannelsLast);
    at::Tensor dx, dweight, dbias;
    if (context->needs_input_grad(0)) {
      dx = at::empty_like(x);
      DepthwiseInputGradient(shape, dy.const_data_ptr<float>(), weight.contiguous().const_data_ptr<float>(),
                             dx.mutable_data_ptr<float>());
    }
    if (context->needs_input_grad(1)) {
      dweight = at::empty(weight.sizes(), weight.options());
      DepthwiseWeightGradient(shape, x.const_data_ptr<float>(), dy.const_data_ptr<float>(),
                              dweight.mutable_data_ptr<float>());
    }
    if (conv.bias() && context->needs_input_grad(2)) dbias = dy.sum({0, 2, 3});
    return {dx, dweight, dbias, at::Tensor()};
  }
};

// Whether unit_conv.h has a kernel for the convolution, without its bias.
bool HasPlainKernel(const Conv2d& conv, const at::Tensor& x, const at::Tensor& weight) {
  return conv.groups() == 1 && !conv.bias() && HasOwnKernel(conv, weight, x);
}

struct PlainFunction : torch::autograd::Function<PlainFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const Conv2d& conv) {
    const at::Tensor from = x.contiguous(kChannelsLast);
    context->saved_data["conv"] = conv.SerializeAsString();
    context->save_for_backward({from, weight});
    return ConvForward(conv, {from, {}, {}}, weight);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradient) {
    PRUNELAB_CHECK(!at::GradMode::is_enabled()) << "only the reference plan is twice differentiable";
    const torch::autograd::variable_list saved = context->get_saved_variables();
    Conv2d conv;
    conv.ParseFromString(context->saved_data["conv"].toStringRef());
    const ConvGradients gradients =
        ConvBackward(conv, gradient[0].contiguous(kChannelsLast), {saved[0], {}, {}}, saved[1],
                     context->needs_input_grad(0), context->needs_input_grad(1), at::Tensor());
    return {gradients.input, gradients.weight, at::Tensor()};
  }
};

class ConvStep : public Step {
 public:
  ConvStep(const NetworkInfo& network, int node, int clip)
      : Step(clip >= 0 ? clip : node, network.inputs(node)),
        node_(node),
        clip_(clip),
        conv_(network.node(node).conv2d()),
        macs_(network.MacCount(node)) {}

  Activation Run(Execution& execution) const override {
    Activation result;
    const at::Tensor& x = execution.values[inputs()[0]].tensor;
    result.tensor = Convolved(execution, x);
    execution.macs += macs_ * (1 + result.tensor.requires_grad() + x.requires_grad());
    return result;
  }

 private:
  at::Tensor Convolved(const Execution& execution, const at::Tensor& x) const {
    Model& model = execution.model;
    const Node& node = model.info().node(node_);
    const auto weight = [&] { return ConvWeight(model, node, execution.options.policy); };
    const std::optional<DepthwiseShape> depthwise = DepthwiseOf(conv_, x);
    if (depthwise.has_value()) {
      std::optional<at::Tensor> bias;
      if (conv_.bias()) bias = model.Get(absl::StrCat(node.name(), ".bias"));
      if (clip_ < 0) return DepthwiseFunction::apply(x, weight(), bias, conv_);
      const at::NoGradGuard no_gradients;
      return Depthwise(*depthwise, x, weight(), bias.value_or(at::Tensor()), OutputOf(model.info().node(clip_)));
    }
    if (clip_ < 0 && HasPlainKernel(conv_, x, model.Get(absl::StrCat(node.name(), ".weight")))) {
      return PlainFunction::apply(x, weight(), conv_);
    }
    const at::Tensor y = RunNode(model, node, {x}, execution.options, /*overwrite=*/false);
    return clip_ < 0 ? y : RunNode(model, model.info().node(clip_), {y}, execution.options, /*overwrite=*/true);
  }

  static DepthwiseOutput OutputOf(const Node& clip) {
    DepthwiseOutput output;
    output.low = clip.has_elementwise() ? static_cast<float>(clip.elementwise().low()) : 0;
    if (clip.has_elementwise()) output.high = static_cast<float>(clip.elementwise().high());
    return output;
  }

  const int node_, clip_;
  const Conv2d conv_;
  const int64_t macs_;  // of the forward pass, for one image
};

}  // namespace

bool CanClip(const Conv2d& conv, int64_t in_channels, const Node& clip) {
  const bool depthwise = conv.groups() == in_channels && conv.out_channels() == in_channels;
  return depthwise && (clip.has_relu() || clip.elementwise().function() == Elementwise::CLIP);
}

void AddConvStep(PlanBuilder& builder, int node, int clip) {
  PRUNELAB_CHECK(clip < 0 || builder.structure().mode == Mode::kEvaluate) << "a clip that a backward pass needs";
  builder.Add(std::make_unique<ConvStep>(builder.network(), node, clip));
}

}  // namespace prunelab
