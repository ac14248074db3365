"""Writes ml/training/resrep_values.h: a small network trained by ResRep, by PyTorch in float64.

Usage: resrep_values.py > ml/training/resrep_values.h    (torch 2.11.0)

Network, weights, images and labels are those of resrep_steps_test.cc. Each epoch is one step on all images. The rules are
those of the original code, written down here anew: before a step whose turn it is, the compactors' filters are sorted by
their norm, and from the smallest on they are told to forget, passing over a layer's last one, until there are as many as
may be; their gradient of the loss is set to zero, and that of the group lasso, w / ||w||, is added for all.
"""

import torch
from torch import nn
from torch.nn import functional

EPOCHS, FIRST_EPOCH, PERIOD, AT_A_TIME, GOAL = 12, 2, 2, 1, 4
RATE, MOMENTUM, LASSO = 0.1, 0.9, 0.05


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.an = nn.BatchNorm2d(4)
        self.b = nn.Conv2d(4, 3, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 2)
        self.compactors = nn.ParameterDict({"a": torch.empty(4, 4, 1, 1), "b": torch.empty(3, 3, 1, 1)})

    def forward(self, x):
        x = functional.relu(functional.conv2d(self.an(self.a(x)), self.compactors["a"]))
        x = functional.relu(functional.conv2d(self.bn(self.b(x)), self.compactors["b"]))
        return self.fc(x.mean((2, 3)))


def fill(name, parameter):
    """The k-th number of a parameter is 0.4 sin(0.7 k + 0.3 * the length of its name), plus 1 in scales of batch norms; of
    a compactor it is the identity and a quarter of that."""
    numbers = 0.4 * torch.sin(0.7 * torch.arange(parameter.numel(), dtype=torch.float64) + 0.3 * len(name))
    numbers = numbers.view(parameter.shape)
    if name.endswith(".compactor.weight"):
        numbers = torch.eye(len(parameter), dtype=torch.float64).view(parameter.shape) + numbers / 4
    if name in ("an.weight", "bn.weight"):
        numbers = numbers + 1
    parameter.data = numbers


def named(model):
    for name, parameter in model.named_parameters():
        yield (f"{name.split('.')[1]}.compactor.weight" if name.startswith("compactors.") else name), parameter


def chosen(model, limit):
    """By compactor, the filters that are to forget."""
    norms = sorted((w.data[i].norm().item(), name, i) for name, w in model.compactors.items() for i in range(len(w)))
    left = {name: len(w) for name, w in model.compactors.items()}
    forget = {name: [] for name in left}
    for _, name, i in norms:
        if sum(map(len, forget.values())) == limit:
            break
        if left[name] > 1:
            left[name] -= 1
            forget[name].append(i)
    return forget


def main():
    torch.set_default_dtype(torch.float64)
    model = Network()
    for name, parameter in named(model):
        fill(name, parameter)
    images = torch.cos(0.37 * torch.arange(8 * 2 * 5 * 5, dtype=torch.float64)).view(8, 2, 5, 5)
    images = images.float().double()
    labels = torch.arange(8) % 2
    velocity = {name: None for name, _ in named(model)}
    forget = {name: [] for name in model.compactors}
    history = []
    for epoch in range(EPOCHS):
        if epoch >= FIRST_EPOCH and (epoch - FIRST_EPOCH) % PERIOD == 0:
            forget = chosen(model, min(GOAL, ((epoch - FIRST_EPOCH) // PERIOD + 1) * AT_A_TIME))
        model.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        for name, weight in model.compactors.items():
            weight.grad[forget[name]] = 0
            weight.grad += LASSO * weight.data / weight.data.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        for name, parameter in named(model):
            velocity[name] = parameter.grad.clone() if velocity[name] is None else MOMENTUM * velocity[name] + parameter.grad
            parameter.data -= RATE * velocity[name]
        history.append(["".join("0" if i in forget[name] else "1" for i in range(len(model.compactors[name])))
                        for name in ("a", "b")])
    print("// Made by tools/reference/resrep_values.py.")
    print("#pragma once\n\n#include <map>\n#include <string>\n#include <vector>\n\nnamespace prunelab {\n")
    print("// By epoch and compactor, which filters learn from the loss: 1, or 0.")
    print("inline const std::vector<std::vector<std::string>>& ResrepLearning() {")
    print("  static const auto& learning = *new std::vector<std::vector<std::string>>{")
    print(",\n".join('      {"%s", "%s"}' % tuple(of_epoch) for of_epoch in history))
    print("  };\n  return learning;\n}\n\n// The parameters after the last step.")
    print("inline const std::map<std::string, std::vector<double>>& ResrepParameters() {")
    print("  static const auto& parameters = *new std::map<std::string, std::vector<double>>{")
    for name, parameter in named(model):
        print(f'      {{"{name}", {{{", ".join(f"{value:.15g}" for value in parameter.flatten().tolist())}}}}},')
    print("  };\n  return parameters;\n}\n\n}  // namespace prunelab")


if __name__ == "__main__":
    main()
