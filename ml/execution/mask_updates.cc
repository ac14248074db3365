#include "ml/execution/mask_updates.h"

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"

namespace prunelab {
namespace {

// By conv node, what is left to its weight and to the moments of its gradient.
struct Kept {
  std::map<std::string, at::Tensor> weights, momentum;
};

Kept KeptBy(const MaskUpdate& update, const std::map<std::string, at::Tensor>& before,
            const std::map<std::string, at::Tensor>& after) {
  Kept kept;
  for (const auto& [node, unused] : update.masks) {
    const at::Tensor& mask = after.at(node);
    const auto not_grown = [&, node = node] {
      const auto old = before.find(node);
      const at::Tensor was = old != before.end() ? old->second : at::ones_like(mask);
      return 1 - mask * (1 - was);
    };
    using Weights = MaskUpdate::Weights;
    using Momentum = MaskUpdate::Momentum;
    if (update.weights == Weights::kZeroMasked) kept.weights[node] = mask;
    if (update.weights == Weights::kZeroGrown) kept.weights[node] = not_grown();
    if (update.momentum == Momentum::kZeroMasked) kept.momentum[node] = mask;
    if (update.momentum == Momentum::kZeroGrown) kept.momentum[node] = not_grown();
  }
  return kept;
}

}  // namespace

void ApplyMaskUpdate(const MaskUpdate& update, const StartMasks& start, Model& model,
                     const std::vector<std::vector<at::Tensor>>& moments) {
  const std::map<std::string, at::Tensor> before = model.masks();
  model.SetMasks(start.Intersect(update.masks));
  const Kept kept = KeptBy(update, before, model.masks());
  for (const auto& [node, keep] : kept.weights) model.Get(absl::StrCat(node, ".weight")).detach().mul_(keep);
  for (size_t i = 0; i < model.parameters().size() && !moments.empty(); ++i) {
    const NamedTensor& parameter = model.parameters()[i];
    const auto keep = kept.momentum.find(parameter.node);
    if (keep == kept.momentum.end() || parameter.name != absl::StrCat(parameter.node, ".weight")) continue;
    for (const std::vector<at::Tensor>& moment : moments) moment[i].mul_(keep->second);
  }
  for (const auto& [name, tensor] : update.new_weights) model.Get(name).detach().copy_(tensor);
  if (!update.new_weights.empty()) start.Zero(model);
}

}  // namespace prunelab
