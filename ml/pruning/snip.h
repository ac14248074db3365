// What snip (snip.proto) is made of, for its test.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

// The scores of `layers`, which together add up to 1 (if one is not 0), over the probe's first `images` images: in the
// weight's shape and dtype, or [out, 1, 1, 1].
absl::StatusOr<std::map<std::string, at::Tensor>> SnipScores(const NetworkProbe& probe,
                                                             const std::vector<PrunableLayer>& layers, int64_t images,
                                                             Granularity granularity);

}  // namespace prunelab
