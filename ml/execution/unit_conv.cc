#include "ml/execution/unit_conv.h"

#include <ATen/ATen.h>

#include <array>
#include <tuple>

#include "ml/execution/sampled_conv.h"
#include "ml/kernels/batch_norm/batch_norm.h"
#include "ml/kernels/conv3x3/conv3x3.h"
#include "ml/network/window_ops.h"

namespace prunelab {
namespace {

// Whether the project's own kernels can compute a convolution like this one, and its weight gradient.
struct OwnKernels {
  bool convolution = false, weight_gradient = false;
};
OwnKernels FindOwnKernels(const Conv2d& conv, const at::Tensor& weight, const at::Tensor& input) {
  if (weight.scalar_type() != at::kFloat || !IsPlain3x3(WindowOf(conv))) return {};
  const int64_t out = weight.size(0), in = weight.size(1), height = input.size(2), width = input.size(3);
  return {HasConv3x3(in, out, height, width), HasConv3x3WeightGradient(in, out, height, width)};
}

Conv3x3Input DataOf(const ConvInput& input) {
  return {Data<float>(input.tensor), Data<float>(input.scale), Data<float>(input.shift)};
}

}  // namespace

at::Tensor EmptyLike(const at::Tensor& tensor, int64_t channels) {
  return at::empty({tensor.size(0), channels, tensor.size(2), tensor.size(3)}, tensor.options().requires_grad(false),
                   at::MemoryFormat::ChannelsLast);
}

at::Tensor ConvInput::Made() const {
  if (!scale.defined()) return tensor;
  const at::Tensor made = at::empty_like(tensor);
  const int64_t channels = tensor.size(1);
  AT_DISPATCH_FLOATING_TYPES(tensor.scalar_type(), "ConvInput", [&] {
    BatchNormForward<scalar_t>({tensor.numel() / channels, channels, channels, nullptr}, Data<scalar_t>(tensor),
                               Data<scalar_t>(scale), Data<scalar_t>(shift), nullptr, /*relu=*/true,
                               MutableData<scalar_t>(made));
  });
  return made;
}

bool HasOwnKernel(const Conv2d& conv, const at::Tensor& weight, const at::Tensor& input) {
  return FindOwnKernels(conv, weight, input).convolution;
}

at::Tensor ConvForward(const Conv2d& conv, const ConvInput& input, const at::Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor& x = input.tensor;
  if (!FindOwnKernels(conv, weight, x).convolution) {
    return RunConv2d(WindowOf(conv), input.Made(), weight, {}, /*groups=*/1).contiguous(at::MemoryFormat::ChannelsLast);
  }
  const at::Tensor w = weight.contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor y = EmptyLike(x, out);
  Conv3x3(x.size(0), x.size(2), x.size(3), in, out, DataOf(input), w.const_data_ptr<float>(),
          y.mutable_data_ptr<float>());
  return y;
}

ConvGradients ConvBackward(const Conv2d& conv, const at::Tensor& dy, const ConvInput& input, const at::Tensor& weight,
                           bool needs_input, bool needs_weight, const at::Tensor& of_others) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const OwnKernels own = FindOwnKernels(conv, weight, input.tensor);
  ConvGradients gradients;
  if (needs_input && own.convolution) {
    const at::Tensor w = weight.contiguous(at::MemoryFormat::ChannelsLast);
    gradients.input = EmptyLike(dy, in);
    Conv3x3InputGradient(dy.size(0), dy.size(2), dy.size(3), in, out, dy.const_data_ptr<float>(),
                         w.const_data_ptr<float>(), Data<float>(of_others), gradients.input.mutable_data_ptr<float>());
  }
  if (needs_weight && own.weight_gradient) {
    gradients.weight = at::empty({out, in, 3, 3}, weight.options(), at::MemoryFormat::ChannelsLast);
    Conv3x3WeightGradient(dy.size(0), dy.size(2), dy.size(3), in, out, DataOf(input), dy.const_data_ptr<float>(),
                          gradients.weight.mutable_data_ptr<float>());
  }
  const bool library_input = needs_input && !own.convolution, library_weight = needs_weight && !own.weight_gradient;
  const Window window = WindowOf(conv);
  const auto by_library = [&](const at::Tensor& x, std::array<int64_t, 2> strides, bool of_input, bool of_weight) {
    return at::convolution_backward(dy, x, weight, at::OptionalIntArrayRef(), strides, window.Pads(),
                                    window.Dilations(), /*transposed=*/false, {0, 0}, /*groups=*/1,
                                    {of_input, of_weight, false});
  };
  const bool sampled = library_weight && NeedsSampling(window, weight);
  if (sampled) gradients.weight = std::get<1>(by_library(Sampled(window, input.Made()), {1, 1}, false, true));
  if (library_input || (library_weight && !sampled)) {
    auto [of_input, of_weight, unused] = by_library(library_weight && !sampled ? input.Made() : input.tensor,
                                                    window.Strides(), library_input, library_weight && !sampled);
    if (library_input) gradients.input = of_others.defined() ? of_input.add_(of_others) : of_input;
    if (library_weight && !sampled) gradients.weight = of_weight;
  }
  return gradients;
}

}  // namespace prunelab
