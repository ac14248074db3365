#!/usr/bin/env python3
"""Norms of the unmasked and masked convolution filters at the end of each run of a results folder, as CSV.

  bazel run //tools:filter_norms -- $PWD/runs/paper_small > norms.csv

It prints a line for each run that has a last.safetensors: the quantiles 0.1, 0.5 and 0.9 of the Euclidean norms of the
filters (all convolutions together) that are on, and of those that the masks turn off. A filter is on if any entry of
its mask is. In a run without masks all filters are on.
"""

import array
import csv
import json
import math
import os
import pathlib
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from command_line import Parser, status_of, user_path  # noqa: E402

QUANTILES = (0.1, 0.5, 0.9)
COLUMNS = ["arm", "seed"] + [f"{which}_{name}" for which in ("on", "off") for name in ("filters", "q10", "median", "q90")]


def read_floats(path):
    """The float32 tensors of a safetensors file: name -> (shape, values)."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = entry["data_offsets"]
        values = array.array("f")
        values.frombytes(data[8 + length + begin:8 + length + end])
        if sys.byteorder == "big":
            values.byteswap()
        tensors[name] = (entry["shape"], values)
    return tensors


def norms(tensors):
    """The norms of the filters that are on, and of those that are off."""
    on, off = [], []
    for name, (shape, values) in tensors.items():
        if not name.endswith(".weight") or len(shape) != 4:
            continue
        size = len(values) // shape[0]
        _, mask = tensors.get(name[:-len("weight")] + "mask", (None, None))
        for i in range(shape[0]):
            part = values[i * size:(i + 1) * size]
            per_filter = len(mask) // shape[0] if mask else 0
            live = not mask or any(mask[i * per_filter:(i + 1) * per_filter])
            (on if live else off).append(math.sqrt(math.fsum(v * v for v in part)))
    return on, off


def summary(values):
    """The number of values and their quantiles (nearest rank); empty if there are none."""
    ordered = sorted(values)
    return [len(ordered)] + [
        "%.4g" % ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else "" for q in QUANTILES]


def main():
    parser = Parser(prog="filter_norms", description=__doc__)
    parser.add_argument("results", metavar="RESULTS", help="the output folder of an ablation")
    folder = pathlib.Path(user_path(parser.parse_args().results))
    if not folder.is_dir():
        parser.error(f"{folder}: is no folder; give the output folder of an ablation")
    paths = sorted(folder.rglob("last.safetensors"), key=lambda path: (str(path.parent.parent), int(path.parent.name)))
    if not paths:
        parser.error(f"{folder}: no <arm>/<seed>/last.safetensors below it")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path in paths:
        on, off = norms(read_floats(path))
        writer.writerow([path.parent.parent.relative_to(folder).as_posix(), path.parent.name, *summary(on), *summary(off)])
    return 0


if __name__ == "__main__":
    sys.exit(status_of(main))
