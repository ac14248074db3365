#include "ml/execution/straight_through.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "ml/network/fake_quantize.h"

namespace prunelab {
namespace {

// `rounded` forwards; backwards the gradient of `x`, where `inside` is true.
struct StraightThrough : torch::autograd::Function<StraightThrough> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& rounded,
                            const at::Tensor& inside) {
    context->save_for_backward({inside});
    return rounded;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradient) {
    return {gradient[0] * context->get_saved_variables()[0], at::Tensor(), at::Tensor()};
  }
};

bool Records(const at::Tensor& x) { return at::GradMode::is_enabled() && x.requires_grad(); }

}  // namespace

at::Tensor RoundedToGrid(const FakeQuantize& node, const at::Tensor& x, const at::Tensor& scale,
                         const at::Tensor& zero_point) {
  if (!Records(x)) return ApplyFakeQuantize(node, x, scale, zero_point);
  at::Tensor rounded, inside;
  {
    const at::NoGradGuard no_gradients;
    const at::Tensor places = (x / scale).round_().add_(zero_point);
    inside = (places >= 0).logical_and_(places <= LastPlace(node));
    rounded = ApplyFakeQuantize(node, x, scale, zero_point);
  }
  return StraightThrough::apply(x, rounded, inside);
}

at::Tensor RoundedToLevels(const at::Tensor& weight, const at::Tensor& scale, int64_t bits) {
  at::Tensor rounded, inside;
  {
    const at::NoGradGuard no_gradients;
    std::vector<int64_t> by_output(weight.dim(), 1);
    by_output[0] = -1;
    const at::Tensor step = scale.to(weight.scalar_type()).view(by_output);
    const at::Tensor levels = (weight / step).round_();
    inside = levels.abs() <= LargestLevel(bits);
    rounded = levels.clamp(-LargestLevel(bits), LargestLevel(bits)).mul_(step);
  }
  return Records(weight) ? StraightThrough::apply(weight, rounded, inside) : rounded;
}

}  // namespace prunelab
