// Masks of the weights that a training, or pruning without training, starts from: what came in masked stays masked.
//
//   StartMasks start(model);                                            // weights that are off become zero
//   if (strategy->regrows()) start.LetReturn(strategy->granularity());  // those that a training may bring back
//   ApplyMaskUpdate(update, start, model);                              // mask_updates.h
//
// Masked weights come in as zero, so by magnitude they rank last.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>

#include "ml/execution/model.h"
#include "ml/network/masks.h"

namespace prunelab {

class StartMasks {
 public:
  StartMasks() = default;  // of a network without masks
  explicit StartMasks(Model& model);

  // For training by a strategy that lets return what is off: it may bring back what its own masks are made of. A
  // strategy of weights brings back everything, one of filters whole filters, but not single weights that came in
  // masked.
  void LetReturn(Granularity granularity);

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
