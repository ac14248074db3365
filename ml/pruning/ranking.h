// Ranking: from importances and a rate to masks.
//
//   const auto masks = RankMasks(ranking, 0.6, {{"conv1", w1.abs().mean({1, 2, 3}, true)}, {"conv2", ...}});
//
// The rule is the paper's: of n entries, threshold = sorted[int(n * rate)] and mask = importance > threshold, strictly.
// So int(n * rate) + 1 entries are off, and with them all that equal the threshold. But a rate of 0 turns nothing off,
// where the paper's rule would mask the smallest entry. A layer may lose all its filters, unless
// ranking.min_live_filters says otherwise. The threshold is found by selection, not by a sort, on the tensors' own
// device.
//
// Scopes (ranking.proto): GLOBAL as the paper; PER_LAYER the same rule in each layer; ERDOS_RENYI_KERNEL and
// LAYER_RATES too, with a rate for each layer; GLOBAL_LAYER_MEAN divides by the layer's mean (in float64; a layer of
// zeros keeps its zeros); GLOBAL_LAMP ranks the scores of Lee et al. 2021 (ICLR),
//   score(u) = a_u^2 / sum of a_v^2 over all v of the layer with a_v^2 >= a_u^2,
// in float64, where a is the importance itself: for weights with importance L1 (a = |w|) exactly the published score,
// for filters and other importances its analogue on the importances' squares.
// The largest entry of every layer scores 1, so these are ties: a rate that leaves room for fewer entries than there
// are layers masks everything, unless min_live_filters is set.
//
// Limits. With min_live_filters or max_rate set, entries are turned off in ascending order of importance (or score),
// ties in the order of layers and then by index, passing over
//   - in each layer, all but its first int(n_layer * max_rate) entries that may go, and
//   - an entry that would leave its layer with fewer than min_live_filters live filters (a filter under a weight mask
//   lives
//     as long as one of its weights is on),
// until int(n * rate) + 1 are off or no layer can give more: exactly so many, with no surplus of ties.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/network/masks.h"
#include "ml/pruning/ranking.pb.h"

namespace prunelab {

struct RankedLayer {
  std::string node;
  at::Tensor importance;                   // [out, 1, 1, 1] for filters, or the weight's shape; floating, not negative
  std::vector<int64_t> weight_shape = {};  // for ERDOS_RENYI_KERNEL alone
};

// Field errors, relative to the Ranking message: min_live_filters < 0, max_rate outside [0, 1]; layer_rate without
// LAYER_RATES or the other way round, a rate outside [0, 1), a layer that is named twice.
absl::Status ValidateRanking(const Ranking& ranking);

// The layers' own rates at which `rate` is that of all of them together (LAYER_RATES), in the order of `own` and
// `sizes`, the numbers of their entries.
std::vector<double> ScaledRates(const std::vector<double>& own, const std::vector<int64_t>& sizes, double rate);

// Masks (0 or 1, in the importance's shape and dtype) by node. `rate` in [0, 1), `ranking` valid. Error: DataLoss, with
// the layer's name, if an importance is infinite or NaN: the weights are lost, training has diverged. On a GPU, with
// which this does not synchronize, the masks are then NaN, and so is the loss.
absl::StatusOr<std::map<std::string, at::Tensor>> RankMasks(const Ranking& ranking, double rate,
                                                            const std::vector<RankedLayer>& layers);

// The words of ranking.proto in those of ml/network/masks.h.
Granularity ToGranularity(MaskUnit::Kind unit);
GradientPolicy ToGradientPolicy(MaskGradient::Policy policy);

}  // namespace prunelab
