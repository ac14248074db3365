"""Writes ml/regularizers/testing/sparse_group_norm_values.h: the gradient of DepGraph's sparse group norm by Torch-Pruning.

Usage: sparse_group_norm_values.py > ml/regularizers/testing/sparse_group_norm_values.h    (torch 2.11.0, torch-pruning 1.6.0)

ResNetCifar of depth 8 and width 4, filled as in group_importance_values.py, in float64. Importances, which Torch-Pruning
adds up in float32, are replaced by the same sums in float64.
"""

import torch
import torch_pruning
from torch import nn

from group_importance_values import filled
from torch_pruning_counts import ResNetCifar

OUTPUTS = (torch_pruning.prune_conv_out_channels, torch_pruning.prune_linear_out_channels)
INPUTS = (torch_pruning.prune_conv_in_channels, torch_pruning.prune_linear_in_channels)


class SquaredNorms(torch_pruning.importance.Importance):
    """By channel: the sum of the squares of all weights of a group."""

    def __call__(self, group):
        sums = torch.zeros(len(group[0].root_idxs), dtype=torch.float64)
        for k, (dependency, idxs) in enumerate(group):
            weight = getattr(dependency.target.module, "weight", None)
            if weight is None:
                continue
            by_input = dependency.handler in INPUTS
            if not by_input and dependency.handler not in OUTPUTS + (torch_pruning.prune_batchnorm_out_channels,):
                continue
            rows = (weight.transpose(0, 1) if by_input else weight).flatten(1) if weight.dim() > 1 else weight[:, None]
            sums.index_add_(0, torch.tensor(group[k].root_idxs), rows.detach()[idxs].square().sum(1))
        return sums


def main():
    print(f"// Made by tools/reference/sparse_group_norm_values.py with torch-pruning {torch_pruning.__version__}.")
    print("#pragma once\n\n#include <vector>\n\nnamespace prunelab {\n")
    print("struct SparseGroupNormGradient {\n  const char* parameter;")
    print("  double projection;  // on cos(0.3 k)\n  double norm;\n};\n")
    print("inline const std::vector<SparseGroupNormGradient>& SparseGroupNormGradients() {")
    print("  static const auto& values = *new std::vector<SparseGroupNormGradient>{")
    model = filled(ResNetCifar(8, 4))
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    pruner = torch_pruning.pruner.GroupNormPruner(model, torch.zeros(1, 3, 32, 32, dtype=torch.float64),
                                                  importance=SquaredNorms(), reg=1.0, ignored_layers=[last])
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    pruner.regularize(model)
    for name, parameter in model.named_parameters():
        if not name.endswith(".weight"):
            assert not parameter.grad.any()
            continue
        k = torch.arange(parameter.numel(), dtype=torch.float64)
        projection = (parameter.grad.flatten() * torch.cos(0.3 * k)).sum().item()
        print(f'      {{"{name}", {projection:.15g}, {parameter.grad.norm().item():.15g}}},')
    print("  };\n  return values;\n}\n\n}  // namespace prunelab")


if __name__ == "__main__":
    main()
