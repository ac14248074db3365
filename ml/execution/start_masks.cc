#include "ml/execution/start_masks.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"

namespace prunelab {

StartMasks::StartMasks(Model& model) {
  for (const auto& [node, mask] : model.masks()) {
    if (mask.eq(0).any().item<bool>()) masks_[node] = mask;
  }
  Zero(model);
}

void StartMasks::Zero(Model& model) const {
  for (const auto& [node, mask] : masks_) model.Get(absl::StrCat(node, ".weight")).detach().mul_(mask);
}

void StartMasks::LetReturn(Granularity granularity) {
  for (auto mask = masks_.begin(); mask != masks_.end();) {
    const bool of_filters = mask->second.numel() == mask->second.size(0);
    const bool stays = granularity == Granularity::kFilter && !of_filters;
    mask = stays ? std::next(mask) : masks_.erase(mask);
  }
}

std::map<std::string, at::Tensor> StartMasks::Intersect(const std::map<std::string, at::Tensor>& masks) const {
  std::map<std::string, at::Tensor> both = masks;
  for (auto& [node, mask] : both) {
    const auto start = masks_.find(node);
    if (start != masks_.end()) mask = at::mul(mask.to(start->second.options()), start->second);
  }
  return both;
}

}  // namespace prunelab
