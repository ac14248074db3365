"""Writes epoch30_masks.safetensors into this folder: the filter masks of a run's last.safetensors and nothing else.

  python3 tools/benchmark/epoch30_masks.py RUN/last.safetensors

epoch30_masks.textproto says which run it was. This prints how many filters of each stage are unmasked.
"""

import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from filter_norms import read_floats  # noqa: E402


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    masks, live = {}, {}
    for name, (shape, values) in sorted(read_floats(pathlib.Path(sys.argv[1])).items()):
        if not name.endswith(".mask"):
            continue
        size = len(values) // shape[0]
        masks[name] = [values[i * size] for i in range(shape[0])]
        if any(value != masks[name][i // size] for i, value in enumerate(values)):
            sys.exit(f"{name}: masks weights, not filters")
        stage = name.split(".")[0]
        on, every = live.get(stage, (0, 0))
        live[stage] = (on + int(sum(masks[name])), every + shape[0])
    if not masks:
        sys.exit(f"{sys.argv[1]}: has no <conv>.mask")
    header, data = {}, b""
    for name, mask in masks.items():
        end = len(data) + 4 * len(mask)
        header[name] = {"dtype": "F32", "shape": [len(mask), 1, 1, 1], "data_offsets": [len(data), end]}
        data += struct.pack(f"<{len(mask)}f", *mask)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (HERE / "epoch30_masks.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    for stage, (on, every) in live.items():
        print(f"{stage}: {on} of {every} filters on")


if __name__ == "__main__":
    main()
