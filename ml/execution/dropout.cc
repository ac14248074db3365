#include "ml/execution/dropout.h"

#include <ATen/ATen.h>

namespace prunelab {

at::Tensor ApplyDropout(const Dropout& dropout, const at::Tensor& x, const at::Tensor& kept) {
  // Division after the multiplication: in bfloat16 the factor 1 / (1 - probability) would be rounded, all alike.
  at::Tensor y = x * kept.to(x.scalar_type());
  // With probability 1 nothing is kept, and there is nothing to divide.
  return dropout.probability() < 1 ? y.div_(1 - dropout.probability()) : y;
}

}  // namespace prunelab
