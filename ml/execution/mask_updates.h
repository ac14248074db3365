// What a strategy's answer does to a model: the one place for it, in training, in pruning without training
// (ml/training/one_shot.h), and in the conformance tests of strategies.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const std::optional<MaskUpdate> update, strategy.Update(position, layers));
//   if (update) ApplyMaskUpdate(*update, start_masks, model, optimizer.moments());
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "ml/execution/model.h"
#include "ml/execution/start_masks.h"
#include "ml/network/mask_update.h"

namespace prunelab {

// In this order:
//   - the masks named become those of the update, less what `start` says must stay masked;
//   - of these convolutions, weights and all moments that the optimizer has are set to zero as the update says: what is
//     masked now, or what is on now and was off;
//   - new weights are copied in, and what must stay masked is set to zero in them.
// `moments`: each by parameter in the model's order; none of an optimizer that has none, or without one.
void ApplyMaskUpdate(const MaskUpdate& update, const StartMasks& start, Model& model,
                     const std::vector<std::vector<at::Tensor>>& moments = {});

}  // namespace prunelab
