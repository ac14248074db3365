#include "ml/pruning/chip.h"

#include <ATen/ATen.h>

#include "ml/pruning/chip.pb.h"
#include "ml/pruning/map_pruning.h"

namespace prunelab {

at::Tensor ChannelIndependence(const at::Tensor& maps) {
  const int64_t images = maps.size(0), channels = maps.size(1);
  const at::Tensor rows = maps.detach().to(at::kCPU, at::kDouble).reshape({images, channels, -1});
  // A = R' Q' with orthonormal rows of Q': zeroing a row of A is zeroing it in R', which has at most C columns.
  const at::Tensor reduced = std::get<1>(at::linalg_qr(rows.transpose(1, 2), "r")).transpose(1, 2).contiguous();
  const at::Tensor without = (1 - at::eye(channels, reduced.options())).unsqueeze(2);  // [C, C, 1]
  at::Tensor sum = at::zeros({channels}, reduced.options());
  for (int64_t i = 0; i < images; ++i) {
    sum += at::linalg_svdvals(reduced[i]).sum() - at::linalg_svdvals(reduced[i] * without).sum(1);
  }
  return sum;
}

namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateChip(const Chip& parameters, const PruningSetup& setup) {
  return CreateMapPruning(parameters, setup, &ChannelIndependence);
}
const bool registered = RegisterPruningStrategy(&CreateChip);

}  // namespace
}  // namespace prunelab
