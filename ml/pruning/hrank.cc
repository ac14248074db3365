#include "ml/pruning/hrank.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "ml/base/status_macros.h"
#include "ml/pruning/hrank.pb.h"
#include "ml/pruning/map_pruning.h"
#include "ml/pruning/parameter_checks.h"

namespace prunelab {

at::Tensor MapRanks(const at::Tensor& maps) {
  const at::Tensor values = at::linalg_svdvals(maps.detach().to(at::kCPU, at::kDouble));  // [n, C, min(H, W)]
  const double least =
      static_cast<double>(std::max(maps.size(2), maps.size(3))) * std::numeric_limits<float>::epsilon();
  return values.gt(values.amax(-1, /*keepdim=*/true) * least).sum(at::IntArrayRef({0, 2})).to(at::kDouble);
}

namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateHrank(const Hrank& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("min_live_filters", parameters.min_live_filters(), 1));
  return CreateMapPruning(parameters, setup, &MapRanks);
}
const bool registered = RegisterPruningStrategy(&CreateHrank);

}  // namespace
}  // namespace prunelab
