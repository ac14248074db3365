#include "ml/network/elementwise.h"

#include <ATen/ATen.h>

#include "ml/base/check.h"

namespace prunelab {

at::Tensor ApplyElementwise(const Elementwise& elementwise, const at::Tensor& x) {
  switch (elementwise.function()) {
    case Elementwise::CLIP:
      return at::clamp(x, elementwise.low(), elementwise.high());
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
