"""Writes ml/pruning/mask_reference.h: masks of the paper's rule, computed by PyTorch and numpy.

    python3 tools/reference/pruning_masks.py > ml/pruning/mask_reference.h

It needs torch and numpy. Weights are functions of their index (SplitMix64), so that the C++ test can compute the same
ones. There are two kinds: `continuous`, with few ties, and `ties`, multiples of 1/8 in [-1, 1] with many equal filters.
PyTorch computes the importances (float32) and numpy the thresholds, sorted(importances)[int(n * rate)]. A second
computation, with numpy alone and in float64, must give the same masks. A rate of 0 masks nothing.
"""

import hashlib

import numpy as np
import torch

SHAPES = [("stem", (16, 3, 3, 3)), ("conv1", (32, 16, 3, 3)), ("conv2", (32, 32, 3, 3)), ("shortcut", (32, 16, 1, 1))]
SCALES = [1.0, 0.5, 0.25, 1.0]
RATES = [0, 1e-9, 0.1, 0.6, 0.9, 0.999]


def splitmix64(index):
    """The generator of Steele, Lea and Flood (2014) at the positions `index` (uint64) of the sequence seeded with 0."""
    with np.errstate(over="ignore"):
        z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def weights(kind):
    """The layers' float32 weights."""
    layers = []
    begin = 0
    for (_, shape), scale in zip(SHAPES, SCALES):
        count = int(np.prod(shape))
        bits = splitmix64(np.arange(begin, begin + count, dtype=np.uint64))
        begin += count
        if kind == "continuous":
            # 24 bits in [-1, 1): exact in float32, and so is the product with a power of two.
            w = (bits >> np.uint64(40)).astype(np.float64) / 2**23 - 1
            w = w * scale
        else:
            w = (bits % np.uint64(17)).astype(np.float64) / 8 - 1
        w = w.astype(np.float32).reshape(shape)
        if kind == "ties":
            # Every third filter is the negative of the one before it.
            for f in range(2, shape[0], 3):
                w[f] = -w[f - 1]
        layers.append(w)
    return layers


def masks(importances, rate):
    """One flat array of 0 and 1 over all layers."""
    everything = np.concatenate([i.reshape(-1) for i in importances])
    if rate == 0:
        return np.ones(len(everything), np.uint8)
    threshold = np.sort(everything)[int(len(everything) * rate)]
    return (everything > threshold).astype(np.uint8)


def main():
    """Prints the header."""
    lines = []
    for kind in ["continuous", "ties"]:
        layers = weights(kind)
        filters = [torch.from_numpy(w).abs().mean(dim=(1, 2, 3)).numpy() for w in layers]
        single = [torch.from_numpy(w).abs().numpy() for w in layers]
        filters64 = [np.abs(w.astype(np.float64)).mean(axis=(1, 2, 3)) for w in layers]
        for rate in RATES:
            by_filter = masks(filters, rate)
            by_weight = masks(single, rate)
            assert (by_filter == masks(filters64, rate)).all(), (kind, rate)
            bits = "".join(str(b) for b in by_filter)
            lines.append(f'    {{"{kind}", {rate}, "{bits}",')
            lines.append(f'     {int((by_weight == 0).sum())}, "{hashlib.sha256(by_weight.tobytes()).hexdigest()}"}},')
    body = "\n".join(lines)
    print(f"""// Masks of the paper's rule by PyTorch and numpy. Made by tools/reference/pruning_masks.py; do not edit.
#pragma once

#include <cstdint>

namespace prunelab {{

struct MaskReference {{
  const char* kind;  // of the weights: continuous or ties
  double rate;
  const char* filters;         // 0 or 1 for each filter of all layers
  int64_t masked_weights;      // under the weight mask
  const char* weights_sha256;  // of the weight mask's bytes 0 and 1, all layers
}};

// clang-format off
inline constexpr MaskReference kMaskReferences[] = {{
{body}
}};
// clang-format on

}}  // namespace prunelab""")


if __name__ == "__main__":
    main()
