// The convolutions of a model as a pruning strategy sees them.
//
//   const PrunableLayers layers(model);
//   strategy.Update(position, layers.Of(last_gradients));
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "ml/execution/model.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

class PrunableLayers {
 public:
  explicit PrunableLayers(const Model& model);  // outlives this object

  // In the network's order, with the current masks. `gradients`: by conv node, in the weight's shape, if there are any.
  std::vector<PrunableLayer> Of(const std::map<std::string, at::Tensor>& gradients) const;

 private:
  const Model& model_;
  std::vector<PrunableLayer> layers_;  // with masks of ones
};

}  // namespace prunelab
