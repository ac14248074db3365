#include "ml/training/clip_gradients.h"

#include <ATen/ATen.h>

namespace prunelab {

std::vector<at::Tensor> ClippedToNorm(const std::vector<at::Tensor>& gradients, double norm) {
  const at::Tensor all = at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients)));
  return at::_foreach_mul(gradients, at::clamp_max(norm / (all + 1e-6), 1));
}

}  // namespace prunelab
