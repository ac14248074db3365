"""Writes ml/compression/group_importance_values.h: importances of coupled groups as Torch-Pruning has them.

Usage: group_importance_values.py > ml/compression/group_importance_values.h    (torch 2.11.0, torch-pruning 1.6.0)

Every parameter's k-th number is sin(0.7 k + 0.3 * the length of its name), as in group_importance_test.cc. Torch-Pruning
adds up in float32, so its numbers are good to about six digits.
"""

import torch
import torch_pruning
from torch import nn

from torch_pruning_counts import ResNetCifar


class Flattened(nn.Module):
    """Each channel of conv is four features of fc1."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)
        self.fc1 = nn.Linear(12, 5)
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(torch.relu(self.bn(self.conv(x))).flatten(1))))


def filled(model):
    for name, parameter in model.named_parameters():
        k = torch.arange(parameter.numel(), dtype=torch.float64)
        parameter.data = torch.sin(0.7 * k + 0.3 * len(name)).view(parameter.shape)
    return model.double().eval()


def groups(model, images):
    """(name of the first layer with filters, the whole group), for each group but that of the outputs."""
    graph = torch_pruning.DependencyGraph().build_dependency(model, images)
    names = {module: name for name, module in model.named_modules()}
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    for group in graph.get_all_groups(ignored_layers=[last], root_module_types=[nn.Conv2d, nn.Linear]):
        writers = [names[d.target.module] for d, _ in group if graph.is_out_channel_pruning_fn(d.handler)
                   and isinstance(d.target.module, (nn.Conv2d, nn.Linear))]
        yield min(name for name in writers if "downsample" not in name), group


def main():
    print(f"// Made by tools/reference/group_importance_values.py with torch-pruning {torch_pruning.__version__}.")
    print("#pragma once\n\n#include <vector>\n\nnamespace prunelab {\n")
    print("struct TorchPruningImportances {\n  const char* network;\n  const char* importance;  // GroupRanking's words")
    print("  const char* normalize;\n  const char* layer;  // that writes the group's channels")
    print("  std::vector<double> values;  // by channel\n};\n")
    print("inline const std::vector<TorchPruningImportances>& GroupImportanceValues() {")
    print("  static const auto& values = *new std::vector<TorchPruningImportances>{")
    networks = [("ResNetCifar", ResNetCifar(8, 4), torch.zeros(1, 3, 32, 32)),
                ("Flattened", Flattened(), torch.zeros(1, 2, 2, 2))]
    normalizers = {"NONE": None, "MEAN": "mean", "MAX": "max", "GAUSSIAN": "gaussian", "LAMP": "lamp"}
    for network, model, images in networks:
        model = filled(model)
        for ours, theirs in normalizers.items():
            for layer, group in groups(model, images.double()):
                scorers = {"GROUP_NORM": torch_pruning.importance.GroupMagnitudeImportance(p=2, normalizer=theirs)}
                if ours in ("NONE", "MEAN") and layer != "fc1":
                    scorers["BATCH_NORM_SCALE"] = torch_pruning.importance.BNScaleImportance(normalizer=theirs)
                for importance, scorer in scorers.items():
                    numbers = ", ".join(f"{value:.7g}" for value in scorer(group).tolist())
                    print(f'      {{"{network}", "{importance}", "{ours}", "{layer}", {{{numbers}}}}},')
    print("  };\n  return values;\n}\n\n}  // namespace prunelab")


if __name__ == "__main__":
    main()
