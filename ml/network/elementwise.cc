#include "ml/network/elementwise.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "ml/base/check.h"

namespace prunelab {

namespace {

at::Tensor Overwritten(const Elementwise& elementwise, at::Tensor x) {
  switch (elementwise.function()) {
    case Elementwise::CLIP:
      return at::hardtanh_(x, elementwise.low(), elementwise.high());
    case Elementwise::LEAKY_RELU:
      return at::leaky_relu_(x, elementwise.slope());
    case Elementwise::SIGMOID:
      return at::sigmoid_(x);
    case Elementwise::HARD_SIGMOID:
      return at::hardsigmoid_(x);
    case Elementwise::HARD_SWISH:
      return at::hardswish_(x);
    case Elementwise::SILU:
      return at::silu_(x);
    case Elementwise::GELU:
      return at::gelu_(x);
    case Elementwise::GELU_TANH:
      return at::gelu_(x, "tanh");
    case Elementwise::TANH:
      return at::tanh_(x);
    case Elementwise::UNSET:
      break;
  }
  PRUNELAB_CHECK(false) << "an elementwise node without a function";
  return {};
}

}  // namespace

at::Tensor ApplyElementwise(const Elementwise& elementwise, const at::Tensor& x, bool overwrite) {
  if (overwrite && !at::GradMode::is_enabled()) return Overwritten(elementwise, x);
  switch (elementwise.function()) {
    case Elementwise::CLIP:
      // Unlike clamp's, its gradient is 0 at the bounds, as is that of PyTorch's ReLU6, and of a ReLU at 0.
      return at::hardtanh(x, elementwise.low(), elementwise.high());
    case Elementwise::LEAKY_RELU:
      return at::leaky_relu(x, elementwise.slope());
    case Elementwise::SIGMOID:
      return at::sigmoid(x);
    case Elementwise::HARD_SIGMOID:
      return at::hardsigmoid(x);
    case Elementwise::HARD_SWISH:
      return at::hardswish(x);
    case Elementwise::SILU:
      return at::silu(x);
    case Elementwise::GELU:
      return at::gelu(x);
    case Elementwise::GELU_TANH:
      return at::gelu(x, "tanh");
    case Elementwise::TANH:
      return at::tanh(x);
    case Elementwise::UNSET:
      break;
  }
  PRUNELAB_CHECK(false) << "an elementwise node without a function";  // NetworkInfo::Create refuses it
  return {};
}

}  // namespace prunelab
