"""Codebooks by scipy's k-means and sizes of Huffman codes by a heap, for the tests of ml/deep_compression.

  python3 tools/reference/deep_compression_values.py > ml/deep_compression/reference_values.h

The weights and the counts are formulas of whole numbers, which the tests repeat exactly.
"""

import heapq
import itertools
import warnings

import numpy as np
import scipy
from scipy.cluster.vq import kmeans2


def weights(count, multiplier, dead):
    """float32: many small weights and few large ones; each `dead`-th is zero (0: none)."""
    i = np.arange(count, dtype=np.int64)
    u = (i * multiplier + 17) % 10007 - 5003
    w = (u * np.abs(u)).astype(np.float64) / 2**26
    if dead:
        w[i % dead == 0] = 0
    return w.astype(np.float32)


def codebook(values, clusters):
    """scipy's Lloyd iterations from evenly spaced centres, in float64, until they stand; without empty groups."""
    data = values[values != 0].astype(np.float64)
    centres = np.linspace(data.min(), data.max(), clusters)
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty group keeps its centre
            moved, labels = kmeans2(data[:, None], centres[:, None], iter=1, minit="matrix", missing="warn")
        moved = moved[:, 0]
        # kmeans2 returns the labels before its update: those of the old centres.
        if np.array_equal(moved, centres):
            break
        centres = moved
    sizes = np.bincount(labels, minlength=clusters)
    kept = sizes > 0
    return centres[kept].astype(np.float32), sizes[kept]


def huffman_bits(counts):
    """The bits of all symbols: the sum of all inner nodes' counts."""
    heap = [c for c in counts if c]
    if len(heap) == 1:
        return 0
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        bits += joined
        heapq.heappush(heap, joined)
    return bits


def limited_bits(counts, longest):
    """The fewest bits with codes of at most `longest` bits: every choice of lengths that Kraft's inequality allows."""
    counts = sorted((c for c in counts if c), reverse=True)
    best = None
    for lengths in itertools.combinations_with_replacement(range(1, longest + 1), len(counts)):
        if sum(2**(longest - l) for l in lengths) <= 2**longest:
            bits = sum(c * l for c, l in zip(counts, lengths))
            best = bits if best is None else min(best, bits)
    return best


def counts(symbols, kind):
    i = list(range(symbols))
    if kind == "even":
        return [100 + (7 * k) % 13 for k in i]
    if kind == "geometric":
        return [max(1, 2**20 >> k) for k in i]
    if kind == "holes":
        return [0 if k % 3 == 0 else 1 + (k * k * 31) % 997 for k in i]
    fibonacci = [1, 1]
    while len(fibonacci) < symbols:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    return fibonacci[:symbols]


def main():
    print(f"""// Made by tools/reference/deep_compression_values.py with scipy {scipy.__version__} and numpy {np.__version__}.
#pragma once

#include <cstdint>
#include <vector>

namespace prunelab {{

// Of float32 weights w[i] = u |u| / 2^26 with u = (multiplier * i + 17) mod 10007 - 5003; each dead-th is zero (0: none).
struct KMeansValues {{
  int64_t count, multiplier, dead, clusters;
  std::vector<float> codebook;
  std::vector<int64_t> sizes;  // weights of each group
}};

inline const std::vector<KMeansValues>& KMeansReference() {{
  static const auto* values = new std::vector<KMeansValues>{{""")
    for count, multiplier, dead, clusters in [(500, 7919, 0, 4), (2000, 3571, 3, 8), (4000, 6007, 2, 32),
                                              (10000, 4999, 10, 256), (1000, 7, 0, 1)]:
        centres, sizes = codebook(weights(count, multiplier, dead), clusters)
        print(f"      {{{count}, {multiplier}, {dead}, {clusters}, {{{', '.join(f'{float(c)!r}F' for c in centres)}}}, "
              f"{{{', '.join(map(str, sizes))}}}}},")
    print("""  };
  return *values;
}

// The fewest bits of all symbols together, for the counts listed and codes of at most `longest` bits (0: no limit).
struct HuffmanValues {
  std::vector<uint64_t> counts;
  int longest;
  uint64_t bits;
};

inline const std::vector<HuffmanValues>& HuffmanReference() {
  static const auto* values = new std::vector<HuffmanValues>{""")
    cases = [(counts(n, kind), 0) for n, kind in [(2, "even"), (17, "even"), (64, "even"), (20, "geometric"),
                                                  (100, "holes"), (25, "fibonacci")]]
    cases += [(counts(n, kind), longest) for n, kind, longest in [(6, "fibonacci", 3), (8, "fibonacci", 3),
                                                                  (8, "fibonacci", 4), (9, "geometric", 4),
                                                                  (10, "holes", 3), (11, "fibonacci", 5)]]
    for symbols, longest in cases:
        bits = limited_bits(symbols, longest) if longest else huffman_bits(symbols)
        print(f"      {{{{{', '.join(map(str, symbols))}}}, {longest}, {bits}}},")
    print("""  };
  return *values;
}

}  // namespace prunelab""")


main()
