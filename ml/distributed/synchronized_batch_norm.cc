#include "ml/distributed/synchronized_batch_norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

namespace prunelab {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;

at::Tensor Channels(const at::Tensor& values) { return values.view({1, -1, 1, 1}); }

class Function : public torch::autograd::Function<Function> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x, const Variable& weight, const Variable& bias,
                          const at::Tensor& running_mean, const at::Tensor& running_var, double momentum,
                          double epsilon, Ranks* ranks) {
    const int64_t channels = x.size(1), own_count = x.numel() / channels;
    // The mean, the sum of squared distances from it and the number of values of each rank. They are put together as
    // Chan et al. do, which loses no digits where means are large; a sum over rows that are zero elsewhere gathers
    // them.
    const at::Tensor all = at::zeros({ranks->size(), 2 * channels + 1}, x.options());
    const at::Tensor own_mean = x.mean({0, 2, 3});
    const at::Tensor row = all[ranks->rank()];
    row.narrow(0, 0, channels).copy_(own_mean);
    row.narrow(0, channels, channels).copy_((x - Channels(own_mean)).square().sum({0, 2, 3}));
    row[2 * channels].fill_(own_count);
    ranks->Sum(all);
    const at::Tensor means = all.narrow(1, 0, channels), squares = all.narrow(1, channels, channels);
    const at::Tensor counts = all.narrow(1, 2 * channels, 1);
    const at::Tensor count = counts.sum();
    const at::Tensor mean = (means * counts).sum(0) / count;
    const at::Tensor square = (squares + counts * (means - mean).square()).sum(0);
    const at::Tensor variance = square / count;
    running_mean.mul_(1 - momentum).add_(mean, momentum);
    running_var.mul_(1 - momentum).add_(square / (count - 1), momentum);
    const at::Tensor inverse = (variance + epsilon).rsqrt();
    const at::Tensor normalized = (x - Channels(mean)) * Channels(inverse);
    context->save_for_backward({normalized, weight, inverse, count});
    context->saved_data["ranks"] = reinterpret_cast<int64_t>(ranks);
    return normalized * Channels(weight) + Channels(bias);
  }

  static std::vector<Variable> backward(AutogradContext* context, std::vector<Variable> gradients) {
    const std::vector<Variable> saved = context->get_saved_variables();
    const at::Tensor &normalized = saved[0], &weight = saved[1], &inverse = saved[2], &count = saved[3];
    auto* ranks = reinterpret_cast<Ranks*>(context->saved_data["ranks"].toInt());
    const at::Tensor own = at::stack({gradients[0].sum({0, 2, 3}), (gradients[0] * normalized).sum({0, 2, 3})});
    const at::Tensor all = own.clone();
    ranks->Sum(all);
    const at::Tensor mean = all / count;
    const at::Tensor of_x =
        (gradients[0] - Channels(mean[0]) - normalized * Channels(mean[1])) * Channels(weight * inverse);
    return {of_x, own[1], own[0], {}, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor SynchronizedBatchNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                 const at::Tensor& running_mean, const at::Tensor& running_var, double momentum,
                                 double epsilon, Ranks& ranks) {
  return Function::apply(x, weight, bias, running_mean, running_var, momentum, epsilon, &ranks);
}

}  // namespace prunelab
