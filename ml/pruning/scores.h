// Scores: one number for each filter or weight of a layer, computed from its weights and the loss's gradient. Ranking
// turns them into masks; what scores least is masked.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "absl/status/statusor.h"
#include "ml/network/masks.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.pb.h"

namespace prunelab {

struct Scores {
  // One for each weight, in the weight's shape, or for each filter, [out, 1, 1, 1]; not negative. `gradient` is
  // undefined where the scores do not need it.
  std::function<at::Tensor(const at::Tensor& weight, const at::Tensor& gradient)> of;
  bool needs_gradients = false;
  bool of_filters = false;     // there are none of single weights
  bool of_batch_norm = false;  // instead of `of`: |gamma| of the BatchNorm that reads the filter alone
};

// Those that the field `importance` of the strategies' parameters names.
Scores ImportanceScores(Importance::Kind kind);

// The layer's scores at the granularity: of filters, [out, 1, 1, 1], those of single weights are averaged over the
// filter, equal bit for bit to PyTorch's scores.mean(dim=(1, 2, 3)) of contiguous tensors on the same machine. Errors:
// the scores need a gradient and the layer has none yet; there are none.
absl::StatusOr<at::Tensor> LayerScores(const Scores& scores, Granularity granularity, const PrunableLayer& layer);

}  // namespace prunelab
