"""Writes ml/regularizers/reference_values.h: values and gradients of the regularizers by numpy and PyTorch's autograd.

    python3 tools/reference/regularizers_values.py > ml/regularizers/reference_values.h

Needs numpy and torch. Values are by numpy's corrcoef and cov, gradients by autograd through other code than the project's;
the script checks the two against each other. The layers are those of FormulaLayers in ml/regularizers/example_layers.h.
"""

import numpy as np
import torch

SHAPES = {"a": (4, 2, 3, 3), "b": (5, 4, 3, 3), "c": (4, 5, 2, 2), "d": (6, 4, 1, 1)}


def formula_layers(masked):
    """Name -> (dense weight, mask in the weight's shape)."""
    layers = {}
    for index, (name, shape) in enumerate(SHAPES.items()):
        k = np.arange(np.prod(shape), dtype=np.float64)
        weight = (np.sin(1.7 * k + index) * 0.1 + np.cos(0.3 * k * k + 2 * index) * 0.05).reshape(shape)
        mask = np.ones(shape)
        if masked and name == "a":
            mask[1] = 0
        if masked and name == "b":
            mask = ((np.arange(np.prod(shape)) * 7) % 5 >= 2).astype(np.float64).reshape(shape)
            mask[3] = 0
        layers[name] = (weight, mask)
    return layers


def direction(shape, index):
    return np.cos(np.arange(np.prod(shape)) * 0.7 + index).reshape(shape)


def live(mask):
    return [f for f in range(mask.shape[0]) if mask[f].any()]


def correlation_value(phi, layers, names):
    total = 0.0
    for name in names:
        weight, mask = layers[name]
        rows = (weight * mask)[live(mask)].reshape(len(live(mask)), -1)
        rho = np.corrcoef(rows)
        pairs = [phi(rho[i, j]) for i in range(len(rho)) for j in range(i)]
        total += np.mean(pairs)
    return total


def correlation_torch(phi, weights, layers, names):
    total = 0.0
    for name in names:
        mask = layers[name][1]
        rows = (weights[name] * torch.from_numpy(mask))[live(mask)].flatten(1)
        rho = torch.corrcoef(rows)
        i, j = np.triu_indices(len(rho), 1)
        total = total + phi(rho[i, j]).mean()
    return total


def kernel_cov_value(layers, names, mean):
    total, slices = 0.0, 0
    for name in names:
        weight, mask = layers[name]
        for f in live(mask):
            for kernel in (weight * mask)[f]:
                total += np.abs(np.triu(np.cov(kernel))).sum()
                slices += 1
    return total / slices if mean else total


def kernel_cov_torch(weights, layers, names, mean):
    total, slices = 0.0, 0
    for name in names:
        mask = layers[name][1]
        for f in live(mask):
            for kernel in (weights[name] * torch.from_numpy(mask))[f]:
                total = total + torch.triu(torch.cov(kernel)).abs().sum()
                slices += 1
    return total / slices if mean else total


def main():
    cases = []
    for delta in [1e-2, 0.3]:
        smooth = lambda r, d=delta: (r * r + d * d) ** 0.5 - d
        cases.append(("kCov" + ("" if delta == 1e-2 else "WideDelta"),
                      lambda layers, phi=smooth: correlation_value(phi, layers, "abc"),
                      lambda w, layers, phi=smooth: correlation_torch(phi, w, layers, "abc")))
    square = lambda r: r * r
    cases.append(("kSquaredCorrelation", lambda layers: correlation_value(square, layers, "abc"),
                  lambda w, layers: correlation_torch(square, w, layers, "abc")))
    cases.append(("kSquaredCorrelationPointwise", lambda layers: correlation_value(square, layers, "abcd"),
                  lambda w, layers: correlation_torch(square, w, layers, "abcd")))
    for mean in [False, True]:
        cases.append(("kKernelCov" + ("Mean" if mean else "Sum"),
                      lambda layers, m=mean: kernel_cov_value(layers, "abc", m),
                      lambda w, layers, m=mean: kernel_cov_torch(w, layers, "abc", m)))
    cases.append(("kPaperZero", lambda layers: kernel_cov_value({"c": layers["c"]}, "c", False), None))

    print("// Written by tools/reference/regularizers_values.py (numpy %s, torch %s); do not edit." %
          (np.__version__, torch.__version__.split("+")[0]))
    print("""#pragma once

namespace prunelab::reference {

// Of FormulaLayers (example_layers.h), "a" to "d": the penalty, and of its gradient in each layer the projection on
// FormulaDirection and the norm.
struct PenaltyValues {
  double value;
  double projection[4];
  double norm[4];
};
""")
    for name, value_of, torch_value_of in cases:
        for masked in [False, True]:
            layers = formula_layers(masked)
            value = value_of(layers)
            projections, norms = [0.0] * 4, [0.0] * 4
            if torch_value_of:
                weights = {n: torch.tensor(w, requires_grad=True) for n, (w, _) in layers.items()}
                by_torch = torch_value_of(weights, layers)
                assert abs(by_torch.item() - value) <= 1e-13 * abs(value), (name, by_torch.item(), value)
                by_torch.backward()
                for index, (n, weight) in enumerate(weights.items()):
                    if weight.grad is not None:
                        projections[index] = float((weight.grad.numpy() * direction(weight.shape, index)).sum())
                        norms[index] = float(weight.grad.norm())
            print("inline constexpr PenaltyValues %s%s = {\n    %r,\n    {%s},\n    {%s}};" %
                  (name, "Masked" if masked else "", float(value), ", ".join(map(repr, projections)),
                   ", ".join(map(repr, norms))))
    print("""
// mean_abs_rho of the layers with kernels larger than 1x1.""")
    for masked in [False, True]:
        value = correlation_value(abs, formula_layers(masked), "abc") / 3
        print("inline constexpr double kMeanAbsRho%s = %r;" % ("Masked" if masked else "", float(value)))
    print("\n}  // namespace prunelab::reference")


if __name__ == "__main__":
    main()
