"""Writes ml/compression/group_loss_values.h: what groups of coupled channels are to the loss on some images.

Usage: group_loss_values.py > ml/compression/group_loss_values.h    (torch 2.11.0, torch-pruning 1.6.0)

Weights, images and labels are those of group_losses_test.cc (`filled`, `images_of`). All in float64.
FISHER: a gate for each channel of a group is multiplied to what its readers read, and autograd differentiates the loss
of each image by it. HESSIAN: Torch-Pruning's GroupHessianImportance, given the means of the squared gradients (its own
accumulate_grad keeps those of the last image alone), its terms added up in float64 instead of float32. LOSS:
Torch-Pruning prunes the channels of least group norm from a copy, whose loss is taken.
"""

import copy

import torch
import torch_pruning
from torch import nn
from torch.nn import functional

from group_importance_values import Flattened, groups
from torch_pruning_counts import ResNetCifar

POINTS = 3


def filled(model):
    """The k-th number of a parameter is 0.4 sin(0.7 k + 0.3 * the length of its name), plus 1 in scales of batch norms."""
    batch_norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for name, parameter in model.named_parameters():
        k = torch.arange(parameter.numel(), dtype=torch.float64)
        numbers = 0.4 * torch.sin(0.7 * k + 0.3 * len(name))
        if name.endswith(".weight") and name[:-len(".weight")] in batch_norms:
            numbers = numbers + 1
        parameter.data = numbers.view(parameter.shape)
    return model.double().eval()


def images_of(channels, size, classes):
    k = torch.arange(5 * channels * size * size, dtype=torch.float64)
    return torch.cos(0.37 * k).view(5, channels, size, size), torch.arange(5) % classes


def fisher(model, group, channels, images, labels):
    """By channel of the group: the mean over the images of the squared gradient for its gate."""
    total = torch.zeros(channels, dtype=torch.float64)
    for image, label in zip(images.split(1), labels.split(1)):
        gate = torch.ones(channels, dtype=torch.float64, requires_grad=True)
        handles = []
        for k, (dependency, idxs) in enumerate(group):
            module = dependency.target.module
            if dependency.handler not in (torch_pruning.prune_conv_in_channels, torch_pruning.prune_linear_in_channels):
                continue
            roots = torch.tensor(group[k].root_idxs)

            def multiply(_, inputs, idxs=idxs, roots=roots):
                x = inputs[0]
                whole = torch.ones(x.shape[1], dtype=x.dtype).scatter(0, torch.tensor(idxs), gate[roots])
                return x * whole.view([1, -1] + [1] * (x.dim() - 2))

            handles.append(module.register_forward_pre_hook(multiply))
        loss = functional.cross_entropy(model(image), label)
        total += torch.autograd.grad(loss, gate)[0] ** 2
        for handle in handles:
            handle.remove()
    return total / len(images)


class Float64Hessian(torch_pruning.importance.GroupHessianImportance):
    """Torch-Pruning's mean over a group's layers is of float32."""

    def _reduce(self, terms, root_idxs):
        total = torch.zeros_like(terms[0], dtype=torch.float64)
        for term, idxs in zip(terms, root_idxs):
            total.scatter_add_(0, torch.tensor(idxs), term.double())
        return total / len(terms)


def hessian(model, group, images, labels):
    scorer = Float64Hessian(normalizer=None)
    sums = {parameter: torch.zeros_like(parameter) for parameter in model.parameters()}
    for image, label in zip(images.split(1), labels.split(1)):
        model.zero_grad()
        functional.cross_entropy(model(image), label).backward()
        for parameter in sums:
            sums[parameter] += parameter.grad ** 2
    scorer._accu_grad = sums
    scorer._counter = {parameter: len(images) for parameter in sums}
    return scorer(group)


def losses(model, layer, example, images, labels):
    """(how many of the least group norm have gone, the mean loss of the others), of the group that `layer` writes."""
    result = []
    group = dict(groups(model, example))[layer]
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2, normalizer=None)(group)
    order = torch.argsort(importance, stable=True).tolist()
    n = len(order)
    for gone in sorted({0, n - 1} | {min(int(k * n / POINTS + 0.5), n - 1) for k in range(1, POINTS)}):
        smaller = copy.deepcopy(model)
        if gone > 0:
            graph = torch_pruning.DependencyGraph().build_dependency(smaller, example)
            module = dict(smaller.named_modules())[layer]
            handler = (torch_pruning.prune_linear_out_channels if isinstance(module, nn.Linear)
                       else torch_pruning.prune_conv_out_channels)
            graph.get_pruning_group(module, handler, idxs=order[:gone]).prune()
        with torch.no_grad():
            result.append((gone, functional.cross_entropy(smaller(images), labels).item()))
    return result


def main():
    print(f"// Made by tools/reference/group_loss_values.py with torch-pruning {torch_pruning.__version__}.")
    print("#pragma once\n\n#include <cstdint>\n#include <vector>\n\nnamespace prunelab {\n")
    print("struct ReferenceGroupLosses {\n  const char* network;\n  const char* layer;  // that writes the group's channels")
    print("  std::vector<double> fisher, hessian;  // by channel\n  std::vector<int64_t> gone;")
    print("  std::vector<double> losses;           // without so many of the least group norm\n};\n")
    print("inline const std::vector<ReferenceGroupLosses>& ReferenceGroupLossValues() {")
    print("  static const auto& values = *new std::vector<ReferenceGroupLosses>{")
    for network, model, channels, size, classes in (("ResNetCifar", ResNetCifar(8, 4), 3, 8, 10),
                                                     ("Flattened", Flattened(), 2, 2, 2)):
        model = filled(model)
        images, labels = images_of(channels, size, classes)
        for layer, group in groups(model, images[:1]):
            outputs = len(group[0].root_idxs)
            measured = losses(model, layer, images[:1], images, labels)
            text = [", ".join(f"{value:.15g}" for value in values)
                    for values in (fisher(model, group, outputs, images, labels).tolist(),
                                   hessian(model, group, images, labels).tolist(),
                                   [gone for gone, _ in measured], [loss for _, loss in measured])]
            print(f'      {{"{network}", "{layer}", {{{text[0]}}}, {{{text[1]}}}, {{{text[2]}}}, {{{text[3]}}}}},')
    print("  };\n  return values;\n}\n\n}  // namespace prunelab")


if __name__ == "__main__":
    main()
