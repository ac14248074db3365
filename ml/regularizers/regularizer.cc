#include "ml/regularizers/regularizer.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <utility>

#include "ml/base/check.h"
#include "ml/base/status_macros.h"

namespace prunelab {

Penalty Regularizer::ValueAndGradients(const std::vector<RegularizedLayer>& layers) const {
  // Callers may be in a no-gradient scope; and the layers' own tensors must not become part of a graph.
  const at::AutoGradMode with_gradients(true);
  std::vector<RegularizedLayer> leaves = layers;
  std::vector<at::Tensor> variables;
  for (RegularizedLayer& leaf : leaves) {
    leaf.weight = leaf.weight.detach().requires_grad_();
    variables.push_back(leaf.weight);
  }
  std::vector<size_t> with_shift;
  for (size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].shift.defined()) continue;
    leaves[i].shift = leaves[i].shift.detach().requires_grad_();
    variables.push_back(leaves[i].shift);
    with_shift.push_back(i);
  }
  Penalty penalty;
  penalty.gradients.resize(layers.size());
  penalty.value = Value(leaves);
  if (!penalty.value.defined()) return penalty;
  PRUNELAB_CHECK(penalty.value.dim() == 0)
      << "a regularizer's value must be a scalar, not of " << penalty.value.dim() << " dimensions";
  if (penalty.value.requires_grad()) {
    const std::vector<at::Tensor> gradients =
        torch::autograd::grad({penalty.value}, variables, /*grad_outputs=*/{}, /*retain_graph=*/false,
                              /*create_graph=*/false, /*allow_unused=*/true);
    std::copy_n(gradients.begin(), layers.size(), penalty.gradients.begin());
    for (size_t k = 0; k < with_shift.size(); ++k) {
      const at::Tensor& gradient = gradients[layers.size() + k];
      if (!gradient.defined()) continue;
      penalty.shift_gradients.resize(layers.size());
      penalty.shift_gradients[with_shift[k]] = gradient;
    }
  }
  penalty.value = penalty.value.detach();
  return penalty;
}

PluginRegistry<RegularizerFactory>& Regularizers() {
  static auto* registry = new PluginRegistry<RegularizerFactory>("regularizer", "//ml/regularizers");
  return *registry;
}

absl::StatusOr<std::unique_ptr<Regularizer>> CreateRegularizer(const google::protobuf::Any& parameters,
                                                               const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(const RegularizerFactory* factory, Regularizers().Find(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> message, UnpackAny(parameters));
  return (*factory)(*message, network);
}

absl::StatusOr<std::unique_ptr<Regularizer>> CreateRegularizer(const google::protobuf::Message& parameters,
                                                               const NetworkInfo& network) {
  google::protobuf::Any any;
  any.PackFrom(parameters);
  return CreateRegularizer(any, network);
}

}  // namespace prunelab
