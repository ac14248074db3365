#include "ml/pruning/fresh_weights.h"

#include <ATen/ATen.h>

namespace prunelab {

at::Tensor FreshWeights(double deviation, const at::Tensor& weight, RandomStream& stream) {
  const at::Tensor fresh = at::empty(weight.sizes(), at::kDouble);
  double* values = fresh.mutable_data_ptr<double>();
  for (int64_t i = 0; i < fresh.numel(); ++i) values[i] = deviation * stream.Normal();
  return fresh.to(weight.options().requires_grad(false));
}

}  // namespace prunelab
