// A pruning strategy's answer: the one message between the strategies, which choose masks (ml/pruning), and the one
// place that applies them (ml/execution/mask_updates.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace prunelab {

struct MaskUpdate {
  enum class Weights {
    kKeep,
    kZeroMasked,  // dense weights that the new masks turn off become zero (soft filter pruning)
    kZeroGrown,   // those that the new masks turn on from off become zero (RigL)
  };
  enum class Momentum { kKeep, kZeroMasked, kZeroGrown };
  std::map<std::string, at::Tensor> masks;  // by conv node; nodes not named keep theirs
  Weights weights = Weights::kKeep;
  Momentum momentum = Momentum::kKeep;
  std::map<std::string, at::Tensor> new_weights;  // by parameter name, optional, applied last
};

}  // namespace prunelab
