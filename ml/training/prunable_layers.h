// The convolutions of a model as a pruning strategy sees them.
//
//   const PrunableLayers layers(model);
//   strategy.Update(position, layers.Of(last_gradients));
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ml/execution/model.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

class PrunableLayers {
 public:
  explicit PrunableLayers(const Model& model);  // outlives this object

  // In the network's order, with the current masks. `gradients`: by conv node, in the weight's shape, if there are any.
  std::vector<PrunableLayer> Of(const std::map<std::string, at::Tensor>& gradients) const;

  // The same as `strategy` observes them: with batch norms if it needs them. `parameter_gradients`: of the loss, for
  // each of the model's parameters.
  std::vector<PrunableLayer> Observed(const std::map<std::string, at::Tensor>& gradients,
                                      const std::vector<at::Tensor>& parameter_gradients,
                                      const PruningStrategy& strategy) const;

 private:
  const Model& model_;
  std::vector<PrunableLayer> layers_;  // with masks of ones
  // Where the scale and the shift of each layer's own batch norm are among the model's parameters, if it has one.
  std::vector<std::optional<std::pair<size_t, size_t>>> batch_norms_;
};

}  // namespace prunelab
