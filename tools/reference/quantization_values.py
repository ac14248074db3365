"""Writes ml/quantization/quantization_values.h: grids by PyTorch's observer, ranges and scales by numpy, and the
gradients of a training step with rounding by PyTorch's autograd in float64.

    quantization_values.py > ml/quantization/quantization_values.h     (torch 2.11, numpy)

Ranges of least mean squared error are searched by trying all pairs of ends that a coordinate search can reach, in an
implementation of its own; the test's values are those of its function Values.
"""

import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")
from torch.ao.quantization import MinMaxObserver  # noqa: E402

BINS = 2048


def values(count):
    k = np.arange(count)
    x = np.sin(k.astype(float)) + (k % 500) / 500
    return np.where(x > 0, x * x, x)


def observed(low, high, bits):
    observer = MinMaxObserver(dtype=torch.quint8, quant_min=0, quant_max=2**bits - 1)
    observer(torch.tensor([low, high], dtype=torch.float32))
    scale, zero_point = observer.calculate_qparams()
    return float(scale), int(zero_point)


def grid(low, high, bits):
    scale = np.float32((high - low) / (2**bits - 1))
    return float(scale), float(np.clip(np.round(np.float32(-low) / scale), 0, 2**bits - 1))


def error(counts, centers, low, high, bits):
    if high - low <= 0:
        return np.inf
    scale, zero = grid(low, high, bits)
    places = np.clip(np.round(centers / scale) + zero, 0, 2**bits - 1)
    return float(np.sum(counts * (centers - scale * (places - zero)) ** 2))


def histogram(x):
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    bins = np.clip(np.floor((x - low) * (BINS / (high - low))), 0, BINS - 1).astype(int)
    counts = np.bincount(bins, minlength=BINS)
    centers = low + (high - low) * (np.arange(BINS) + 0.5) / BINS
    return low, high, counts, centers


def least_squares(x, bits):
    low, high, counts, centers = histogram(x)
    fractions = np.arange(100, 0, -1) / 100
    ends = [low, high]
    while True:
        before = list(ends)
        for end, whole in ((1, high), (0, low)):
            errors = [error(counts, centers, *(whole * f if e == end else ends[e] for e in (0, 1)), bits)
                      for f in fractions]
            if min(errors) < error(counts, centers, *ends, bits):
                ends[end] = whole * fractions[int(np.argmin(errors))]
        if ends == before:
            return ends


def without_ends(x, percentile):
    low, high, counts, _ = histogram(x)
    spare = len(x) * (100 - percentile) / 200
    edges = low + (high - low) / BINS * np.arange(BINS + 1)
    first = int(np.argmax(np.cumsum(counts) > spare))
    last = BINS - 1 - int(np.argmax(np.cumsum(counts[::-1]) > spare))
    return min(edges[first], 0.0), max(edges[last + 1], 0.0)  # bins `first` to `last` stay


def weight_scale(row, squares, bits):
    levels = 2 ** (bits - 1) - 1
    whole = np.abs(row).max() / levels
    if whole == 0:
        return 1.0
    if not squares:
        return float(np.float32(whole))
    scales = [np.float32(whole * p / 100) for p in range(100, 19, -1)]
    errors = [np.sum((np.clip(np.round(row / float(s)), -levels, levels) * float(s) - row) ** 2) for s in scales]
    return float(scales[int(np.argmin(errors))])


def rounded(x, y):
    """y forwards, the gradient of x backwards."""
    return x + (y - x).detach()


def on_grid(x, low, high, bits):
    last = 2**bits - 1
    scale, zero = grid(low, high, bits)
    places = torch.round(x / scale) + zero
    inside = ((places >= 0) & (places <= last)).to(x.dtype)
    return inside * rounded(x, (places.clamp(0, last) - zero) * scale) + (1 - inside) * (
        (places.clamp(0, last) - zero) * scale).detach()


def on_levels(w, bits, per_channel):
    levels = 2 ** (bits - 1) - 1
    flat = w.detach().reshape(len(w), -1) if per_channel else w.detach().reshape(1, -1)
    scale = (flat.abs().amax(1) / levels).to(torch.float32).to(torch.float64).expand(len(w))
    scale = scale.reshape([-1] + [1] * (w.dim() - 1))
    return rounded(w, torch.round(w / scale).clamp(-levels, levels) * scale)


def observed_range(x):
    return min(float(x.detach().min()), 0.0), max(float(x.detach().max()), 0.0)


def training_step(bits, per_channel):
    """Sums that tell all gradients of a step of conv1-bn1-relu1-conv2-bn2-(+ relu1)-relu2-flat-fc with rounding."""
    shapes = {"conv1.weight": (3, 2, 3, 3), "bn1.weight": (3,), "bn1.bias": (3,), "conv2.weight": (3, 3, 3, 3),
              "bn2.weight": (3,), "bn2.bias": (3,), "fc.weight": (4, 75), "fc.bias": (4,)}
    parameters = {}
    for i, (name, shape) in enumerate(shapes.items()):
        k = torch.arange(int(np.prod(shape)), dtype=torch.float64)
        value = torch.sin(1 + i + 0.37 * k) * 0.5 + (1.0 if name in ("bn1.weight", "bn2.weight") else 0.0)
        parameters[name] = value.reshape(shape).requires_grad_()
    k = torch.arange(2 * 2 * 5 * 5, dtype=torch.float64)
    images = torch.sin(0.9 * k).mul(1.5).reshape(2, 2, 5, 5)
    variance = {"bn1": torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64),
                "bn2": torch.tensor([3.0, 0.25, 1.0], dtype=torch.float64)}

    def unit(x, number):
        weight = parameters[f"conv{number}.weight"]
        gamma = parameters[f"bn{number}.weight"]
        factor = (gamma / torch.sqrt(variance[f"bn{number}"] + 1e-5)).detach().reshape(-1, 1, 1, 1)
        y = torch.nn.functional.conv2d(x, on_levels(weight * factor, bits, per_channel) / factor, padding=1)
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
        return (gamma.reshape(1, -1, 1, 1) * (y - mean) / torch.sqrt(var + 1e-5)
                + parameters[f"bn{number}.bias"].reshape(1, -1, 1, 1))

    def placed(x):
        return on_grid(x, *observed_range(x), bits)

    x = torch.relu(unit(placed(images), 1))
    x = placed(x)
    y = placed(unit(x, 2))
    z = placed(torch.relu(x + y))
    logits = torch.nn.functional.linear(z.flatten(1), on_levels(parameters["fc.weight"], bits, per_channel),
                                        parameters["fc.bias"])
    factors = torch.cos(torch.arange(8, dtype=torch.float64)).reshape(2, 4)
    loss = (logits * factors).sum()
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    rows = [float(loss)]
    for gradient in gradients:
        flat = gradient.flatten()
        k = torch.arange(len(flat), dtype=torch.float64)
        rows += [float((flat * torch.cos(k)).sum()), float((flat * torch.sin(2 * k + 1)).sum())]
    return rows


def main():
    print("""// Made by tools/reference/quantization_values.py: grids by PyTorch's MinMaxObserver, the rest by numpy.
#pragma once

#include <cstdint>

namespace prunelab {

struct GridValue {
  double low, high;
  int64_t bits;
  float scale;
  int64_t zero_point;
};
constexpr GridValue kGridValues[] = {""")
    for low, high in ((-1.0, 1.0), (0.0, 6.0), (-2.5, 0.0), (-0.03, 11.7), (-128.0, 127.0), (-1e-3, 2e-3), (-7.0, 0.1)):
        for bits in (2, 4, 7, 8):
            scale, zero_point = observed(low, high, bits)
            print(f"    {{{low!r}, {high!r}, {bits}, {scale!r}f, {zero_point}}},")
    print("""};

// `percentile` 0: of least mean squared error.
struct RangeValue {
  double percentile;
  int64_t bits;
  double low, high;
};
constexpr RangeValue kRangeValues[] = {""")
    x = values(2000)
    for percentile in (99.9, 99.0, 95.0):
        low, high = without_ends(x, percentile)
        print(f"    {{{percentile}, 8, {float(low)!r}, {float(high)!r}}},")
    for bits in (2, 3, 4, 6, 8):
        low, high = least_squares(x, bits)
        print(f"    {{0, {bits}, {float(low)!r}, {float(high)!r}}},")
    print("""};

struct WeightScaleValue {
  bool mean_square_error;
  int64_t bits, row;
  float scale;
};
constexpr WeightScaleValue kWeightScaleValues[] = {""")
    weight = values(600).reshape(4, 150)
    weight[2] = 0
    for squares in (False, True):
        for bits in (2, 4, 8):
            for row in range(4):
                text = repr(weight_scale(weight[row], squares, bits))
                print(f"    {{{str(squares).lower()}, {bits}, {row}, {text}f}},")
    print("""};

// Of one training step with rounding: the loss, then for each parameter's gradient g, in the order of the network, the
// sums of g[k] cos(k) and of g[k] sin(2 k + 1).
struct TrainingStepValue {
  int64_t bits;
  bool per_channel;
  double sums[17];
};
constexpr TrainingStepValue kTrainingStepValues[] = {""")
    for bits in (3, 8):
        for per_channel in (True, False):
            rows = training_step(bits, per_channel)
            print(f"    {{{bits}, {str(per_channel).lower()}, {{{', '.join(repr(row) for row in rows)}}}}},")
    print("""};

}  // namespace prunelab""")


main()
