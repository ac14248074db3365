// Tensors by node in a strategy's saved state, each under a prefix and the node's name.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

inline void SaveByNode(const std::string& prefix, const std::map<std::string, at::Tensor>& tensors,
                       StrategyState& state) {
  for (const auto& [node, tensor] : tensors) state.tensors[absl::StrCat(prefix, node)] = tensor;
}

// The state's own tensors.
inline std::map<std::string, at::Tensor> SavedByNode(const std::string& prefix, const StrategyState& state) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : state.tensors) {
    absl::string_view node = name;
    if (absl::ConsumePrefix(&node, prefix)) tensors[std::string(node)] = tensor;
  }
  return tensors;
}

}  // namespace prunelab
