// Importances: one number for each filter or weight of a layer, which ranking turns into masks.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "ml/network/masks.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.pb.h"

namespace prunelab {

// Whether the importance reads the loss's gradient.
bool NeedsGradient(Importance::Kind kind);

// Importances of the layer's filters, [out, 1, 1, 1], or weights, in the weight's shape; in the weight's dtype. Those
// of filters are means over the filter, equal bit for bit to PyTorch's w.abs().mean(dim=(1, 2, 3)) of a contiguous
// weight on the same machine. Error: the importance needs a gradient and the layer has none yet.
absl::StatusOr<at::Tensor> LayerImportance(Importance::Kind kind, Granularity granularity, const PrunableLayer& layer);

}  // namespace prunelab
