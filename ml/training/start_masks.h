// Masks of the weights that a training, or pruning without training, starts from: what came in masked stays masked.
//
//   StartMasks start(model);                       // weights that are off become zero
//   start.LetReturn(*strategy);                    // less where the strategy is made to let things return
//   model.SetMasks(start.Intersect(update.masks)); // each time the strategy asks for masks
//
// Masked weights come in as zero, so by magnitude they rank last.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "ml/execution/model.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

class StartMasks {
 public:
  StartMasks() = default;  // of a network without masks
  explicit StartMasks(Model& model);

  // For training. A strategy that regrows (pruning_strategy.h) may bring back what its own masks are made of: a
  // strategy of weights everything, one of filters whole filters, but not single weights that came in masked.
  void LetReturn(const PruningStrategy& strategy);

  // Sets weights that must stay masked to zero.
  void Zero(Model& model) const;

  // `masks` by node, each less what must stay masked.
  std::map<std::string, at::Tensor> Intersect(const std::map<std::string, at::Tensor>& masks) const;

  // By conv node, as Model::masks(), of nodes where something must stay masked.
  const std::map<std::string, at::Tensor>& masks() const { return masks_; }
  void set_masks(std::map<std::string, at::Tensor> masks) { masks_ = std::move(masks); }

 private:
  std::map<std::string, at::Tensor> masks_;
};

}  // namespace prunelab
