"""Values for ml/base/random_test.cc and ml/data/digits_test.cc, computed independently of the C++ code.

Usage: data_digits.py DIGITS_CSV_GZ   (bazel info output_base, then external/scikit_learn_digits/digits/digits.csv.gz)
"""

import gzip
import hashlib
import sys

import numpy as np

M32, M64 = (1 << 32) - 1, (1 << 64) - 1


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & M32, (p0 >> 32) ^ c[3] ^ k[1], p0 & M32]
        k = [(k[0] + 0x9E3779B9) & M32, (k[1] + 0xBB67AE85) & M32]
    return c


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & M64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M64
    return x ^ (x >> 31)


def fnv1a(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & M64
    return value


def stream(seed, purpose, a=0, b=0):
    """The 32-bit words of RandomStream(seed, purpose, a, b)."""
    key = mix(seed ^ mix(fnv1a(purpose)))
    name = mix(a) ^ mix((mix(b) + 1) & M64)
    block = 0
    while True:
        yield from philox([block & M32, block >> 32, name & M32, name >> 32], [key & M32, key >> 32])
        block += 1


def next64(words):
    low = next(words)
    return low | next(words) << 32


def below(words, n):
    limit = M64 - M64 % n
    while (x := next64(words)) >= limit:
        pass
    return x % n


def permutation(n, words):
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = below(words, i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def main():
    words = stream(2024, "shuffle", 3, 5)
    print("words", [f"{next(words):08x}" for _ in range(9)])
    print("uniform", repr((next64(stream(7, "uniform")) >> 11) * 2.0**-53))
    print("permutation", permutation(10, stream(1, "shuffle")))

    table = np.loadtxt(gzip.open(sys.argv[1]), delimiter=",").astype(np.int64)
    train, test = [], []
    for label in range(10):
        records = np.flatnonzero(table[:, 64] == label)
        order = permutation(len(records), stream(1998, "digits/split", label))
        count = int(np.floor(len(records) / 5 + 0.5))
        test += list(records[order[:count]])
        train += list(records[order[count:]])
    manifest = ""
    for name, part in [("train", sorted(train)), ("test", sorted(test))]:
        images, labels = table[part, :64].astype(np.uint8), table[part, 64]
        print(name, len(part), np.bincount(labels), "first labels", labels[:10], "sum", images.sum())
        if name == "train":
            print("mean", repr((images / 16).mean()), "stddev", repr((images / 16).std()))
        manifest += f"uint8 {len(part)}x1x8x8 {hashlib.sha256(images.tobytes()).hexdigest()}\n"
        manifest += f"int64 {len(part)} {hashlib.sha256(labels.tobytes()).hexdigest()}\n"
    print("fingerprint", hashlib.sha256(manifest.encode()).hexdigest())


main()
