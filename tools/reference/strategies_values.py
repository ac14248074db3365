"""Writes ml/pruning/testing/strategy_reference.h: masks and scores of published pruning methods, by numpy in float64.

    python3 tools/reference/strategies_values.py > ml/pruning/testing/strategy_reference.h

Each is computed from its paper's equation, layer by layer or globally as in the paper. Where Torch-Pruning (1.6) has
the criterion, its scores must agree. This needs numpy, scipy, torch and torch-pruning. Weights and gradients are
functions of their index (SplitMix64), so that the C++ tests can compute the same ones. The number of masked entries is
the project's, int(n * rate) + 1, but a layer keeps one filter if `keep` says so.
"""

import hashlib
import math
import textwrap

import numpy as np
import torch
import torch_pruning
from scipy.spatial import distance

SHAPES = [(8, 3, 3, 3), (12, 8, 3, 3), (8, 12, 3, 3), (8, 8, 1, 1)]
STEP_STRIDE = 1000000
RATES = [0.25, 0.6, 0.9]


def splitmix64(index):
    """The generator of Steele, Lea and Flood (2014) at the positions `index` (uint64) of the sequence seeded with 0."""
    with np.errstate(over="ignore"):
        z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def values(first):
    """float64 arrays of SHAPES from the positions that begin at `first`; 24 bits in [-1, 1), exact in float32."""
    layers = []
    for shape in SHAPES:
        count = int(np.prod(shape))
        bits = splitmix64(np.arange(first, first + count, dtype=np.uint64))
        layers.append(((bits >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(shape))
        first += count
    return layers


WEIGHTS = values(0)


def gradients(step):
    """Those of a step, counted from 0."""
    return values(STEP_STRIDE * (step + 1))


def smallest_off(scores, count):
    """1 except for the `count` smallest of `scores`."""
    mask = np.ones(scores.size, dtype=np.uint8)
    mask[np.argsort(scores.reshape(-1), kind="stable")[:count]] = 0
    return mask.reshape(scores.shape)


def masked_count(entries, rate):
    """The number of masked entries."""
    return min(int(entries * rate) + 1, entries)


def per_layer(scores, rate, keep=0):
    """One mask per layer."""
    return [smallest_off(s, min(masked_count(s.size, rate), s.size - keep)) for s in scores]


def together(scores, rate):
    """One threshold for all layers."""
    everything = np.concatenate([s.reshape(-1) for s in scores])
    mask = smallest_off(everything, masked_count(everything.size, rate))
    return [m.reshape(s.shape) for m, s in zip(np.split(mask, np.cumsum([s.size for s in scores])[:-1]), scores)]


def rows(weight):
    """One filter per row."""
    return weight.reshape(weight.shape[0], -1)


def torch_pruning_scores(importance, weight, gradient=None):
    """The scores of a convolution's filters by an importance of Torch-Pruning."""
    conv = torch.nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], bias=False, dtype=torch.float64)
    conv.weight.data = torch.from_numpy(weight.copy())
    if gradient is not None:
        conv.weight.grad = torch.from_numpy(gradient.copy())
    graph = torch_pruning.DependencyGraph().build_dependency(
        torch.nn.Sequential(conv), example_inputs=torch.zeros(1, weight.shape[1], 8, 8, dtype=torch.float64))
    group = graph.get_pruning_group(conv, torch_pruning.prune_conv_out_channels, idxs=list(range(weight.shape[0])))
    return importance(group).numpy()


def require(ours, theirs):
    """Checks that scores agree; Torch-Pruning's are float32, and some are differences of sums."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def lamp(weight):
    """Lee et al. 2021, eq. 3: w_u^2 / sum of w_v^2 over all v that are not smaller; masked weights are zeros."""
    squares = weight.reshape(-1)**2
    scores = np.zeros_like(squares)
    for u in np.flatnonzero(squares):
        scores[u] = squares[u] / squares[squares >= squares[u]].sum()
    return scores.reshape(weight.shape)


def lamp_masks(weights, rate):
    """Global; every layer keeps its largest weight, whose score is 1, by the ranks at these rates."""
    return together([lamp(w) for w in weights], rate)


def distance_sums(weight):
    """He et al. 2019, eq. 6: sums of Euclidean distances to the layer's filters."""
    return distance.cdist(rows(weight), rows(weight)).sum(0)


def fpgm_masks(rate, norm_rate):
    """The norm's part first, then the distances among the rest."""
    masks = []
    for weight in WEIGHTS:
        filters = weight.shape[0]
        by_norm = int(filters * norm_rate)
        order = np.argsort(np.sqrt((rows(weight)**2).sum(1)), kind="stable")
        left = order[by_norm:]
        off = min(masked_count(filters, rate), filters - 1) - by_norm
        mask = np.ones(filters, dtype=np.uint8)
        mask[order[:by_norm]] = 0
        mask[left[np.argsort(distance_sums(weight[left]), kind="stable")[:off]]] = 0
        masks.append(mask)
    return masks


def taylor_importances(step, gate):
    """Molchanov et al. 2019: squared first-order change of the loss, of a gate or summed over weights."""
    change = [rows(w * g) for w, g in zip(WEIGHTS, gradients(step))]
    return [c.sum(1)**2 if gate else (c**2).sum(1) for c in change]


def taylor(gate):
    """Averages and masks of two prunings, each after two steps: 9 filters, then 9 more."""
    filters = sum(s[0] for s in SHAPES)
    first = [(a + b) / 2 for a, b in zip(taylor_importances(0, gate), taylor_importances(1, gate))]
    masks = together(first, 8.5 / filters)
    second = [(a + b) / 2 for a, b in zip(taylor_importances(2, gate), taylor_importances(3, gate))]
    averages = [0.9 * a + 0.1 * b for a, b in zip(first, second)]
    return masks, averages, together([a * m for a, m in zip(averages, masks)], 17.5 / filters)


def erdos_renyi_kernel(rate):
    """Evci et al. 2020: densities of SHAPES, those that would exceed 1 made dense, found by trying all sets of them."""
    raw = np.array([sum(s) / np.prod(s) for s in SHAPES])
    sizes = np.array([np.prod(s) for s in SHAPES], dtype=np.float64)
    for dense in range(len(SHAPES)):
        chosen = np.argsort(-raw, kind="stable")[:dense]
        sparse = np.setdiff1d(np.arange(len(SHAPES)), chosen)
        epsilon = ((1 - rate) * sizes.sum() - sizes[chosen].sum()) / (raw * sizes)[sparse].sum()
        densities = np.ones(len(SHAPES))
        densities[sparse] = epsilon * raw[sparse]
        if densities.max() <= 1:
            return densities
    raise AssertionError(rate)


def rigl():
    """One update, at step 100 of 1000 with updates until 750, from the mask that the weights' positions give."""
    start = [(m > 0.2).astype(np.uint8) for m in values(STEP_STRIDE * 9)]
    fraction = 0.3 / 2 * (1 + math.cos(math.pi * 100 / 750))
    masks = []
    for mask, weight, gradient in zip(start, WEIGHTS, gradients(0)):
        m, w, g = mask.reshape(-1), np.abs(weight.reshape(-1)), np.abs(gradient.reshape(-1))
        live = np.flatnonzero(m)
        dropped = int(live.size * fraction)
        kept = live[np.argsort(-w[live], kind="stable")[:live.size - dropped]]
        others = np.setdiff1d(np.arange(m.size), kept)
        grown = others[np.argsort(-g[others], kind="stable")[:dropped]]
        new = np.zeros(m.size, dtype=np.uint8)
        new[kept] = 1
        new[grown] = 1
        assert set(grown) & set(live), "no weight is dropped and grown again"
        masks.append(new.reshape(weight.shape))
    return start, masks


def movement_scores(steps):
    """Sanh et al. 2020, eq. 6, with a learning rate of 1."""
    scores = [np.zeros(s) for s in SHAPES]
    for step in range(steps):
        scores = [s - g * w for s, g, w in zip(scores, gradients(step), WEIGHTS)]
    return scores


def bits(masks):
    """Filter masks in one string."""
    return "".join(str(b) for m in masks for b in m.reshape(-1))


def digest(masks):
    """Of weight masks' bytes."""
    return hashlib.sha256(b"".join(m.astype(np.uint8).tobytes() for m in masks)).hexdigest()


def array(name, numbers):
    """A constexpr array of doubles."""
    body = textwrap.fill(", ".join(repr(float(x)) for x in numbers), 116, initial_indent="    ",
                         subsequent_indent="    ")
    return f"inline constexpr double {name}[] = {{\n{body}\n}};"


def by_rate(name, entry, masks):
    """A constexpr array of masks by rate."""
    body = "\n".join(f'    {{{rate}, "{text}"}},' for rate, text in masks)
    return f"inline constexpr {entry} {name}[] = {{\n{body}\n}};"


def main():
    """Prints the header."""
    importance = torch_pruning.importance
    for weight, gradient in zip(WEIGHTS, gradients(0)):
        # Torch-Pruning takes the distances of |w|^p.
        require(distance_sums(np.abs(weight)),
                torch_pruning_scores(importance.FPGMImportance(p=1, normalizer=None), weight))
        require(np.sqrt((rows(weight)**2).sum(1))**2,
                torch_pruning_scores(importance.MagnitudeImportance(p=2, normalizer=None), weight))
        require(np.abs(rows(weight)).sum(1),
                torch_pruning_scores(importance.MagnitudeImportance(p=1, normalizer=None), weight))
        require(np.abs(rows(weight * gradient).sum(1)),
                torch_pruning_scores(importance.TaylorImportance(normalizer=None, multivariable=True), weight,
                                     gradient))
        # Weights as filters of one weight.
        single = weight.reshape(-1, 1, 1, 1)
        require(lamp(single).reshape(-1),
                torch_pruning_scores(importance.LAMPImportance(p=2), single))

    l1 = [np.abs(rows(w)).sum(1) for w in WEIGHTS]
    l2 = [np.sqrt((rows(w)**2).sum(1)) for w in WEIGHTS]
    magnitudes = [np.abs(w) for w in WEIGHTS]
    first_round = lamp_masks(WEIGHTS, 1 - 0.1**0.5)
    second_round = lamp_masks([w * m for w, m in zip(WEIGHTS, first_round)], 0.9)
    first, averages, second = taylor(gate=True)
    by_weights = taylor(gate=False)[1]
    start, grown = rigl()
    scores = movement_scores(3)
    lines = [
        by_rate("kPfecMasks", "FilterMaskReference", [(r, bits(per_layer(l1, r, keep=1))) for r in RATES]),
        by_rate("kSoftFilterMasks", "FilterMaskReference", [(r, bits(per_layer(l2, r, keep=1))) for r in RATES]),
        by_rate("kFpgmMasks", "FilterMaskReference", [(r, bits(fpgm_masks(r, 0))) for r in RATES]),
        by_rate("kFpgmMasksAfterNorms", "FilterMaskReference", [(r, bits(fpgm_masks(r, 0.25))) for r in RATES]),
        array("kFpgmDistanceSums", np.concatenate([distance_sums(w) for w in WEIGHTS])),
        by_rate("kGradualMasks", "WeightMaskReference", [(r, digest(per_layer(magnitudes, r))) for r in RATES]),
        by_rate("kDpfMasks", "WeightMaskReference", [(r, digest(together(magnitudes, r))) for r in RATES]),
        by_rate("kLampMasks", "WeightMaskReference", [(r, digest(lamp_masks(WEIGHTS, r))) for r in RATES]),
        f'inline constexpr char kLampFirstOfTwoRounds[] = "{digest(first_round)}";',
        f'inline constexpr char kLampSecondOfTwoRounds[] = "{digest(second_round)}";',
        f'inline constexpr char kTaylorFirstMasks[] = "{bits(first)}";',
        f'inline constexpr char kTaylorSecondMasks[] = "{bits(second)}";',
        array("kTaylorAverages", np.concatenate(averages)),
        array("kTaylorAveragesOfWeights", np.concatenate(by_weights)),
        array("kErdosRenyiKernelDensities50", erdos_renyi_kernel(0.5)),
        array("kErdosRenyiKernelDensities90", erdos_renyi_kernel(0.9)),
        f'inline constexpr char kRiglStart[] = "{digest(start)}";',
        f'inline constexpr char kRiglMasks[] = "{digest(grown)}";',
        array("kMovementScoreSums", [s.sum() for s in scores]),
        array("kMovementScoresOfShortcut", scores[3].reshape(-1)),
        by_rate("kMovementMasks", "WeightMaskReference", [(r, digest(per_layer(scores, r))) for r in RATES]),
    ]
    body = "\n\n".join(lines)
    print(f"""// Masks and scores of published methods by numpy. Made by tools/reference/strategies_values.py; do not edit.
#pragma once

namespace prunelab {{

struct FilterMaskReference {{
  double rate;
  const char* filters;  // 0 or 1 for each filter of all layers
}};

struct WeightMaskReference {{
  double rate;
  const char* sha256;  // of the weight masks' bytes 0 and 1, all layers
}};

// clang-format off
{body}
// clang-format on

}}  // namespace prunelab""")


if __name__ == "__main__":
    main()
