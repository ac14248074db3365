"""Compares exported networks in onnxruntime with the logits that prunelab computes.

    onnx_runtime.py small.onnx --images=x.safetensors --logits=y.safetensors     (onnx, onnxruntime, numpy, safetensors)

One file has `images` [N, C, H, W] float32, the other `logits` [N, classes], as `//tools:evaluate --input --output`
reads and writes them. This checks the model, runs it with batch sizes 1 and N, and fails if a logit differs by more
than 1e-4 of the largest.
"""

import argparse
import json
import struct
import sys

import numpy as np
import onnx
import onnxruntime


def read(path, name):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    begin, end = header[name]["data_offsets"]
    assert header[name]["dtype"] == "F32", header[name]
    return np.frombuffer(data[begin:end], np.float32).reshape(header[name]["shape"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("onnx")
    parser.add_argument("--images", required=True)
    parser.add_argument("--logits", required=True)
    arguments = parser.parse_args()
    model = onnx.load(arguments.onnx)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 17
    images, wanted = read(arguments.images, "images"), read(arguments.logits, "logits")
    session = onnxruntime.InferenceSession(arguments.onnx, providers=["CPUExecutionProvider"])
    all_at_once = session.run(["logits"], {"images": images})[0]
    one_by_one = np.concatenate([session.run(["logits"], {"images": images[i : i + 1]})[0] for i in range(len(images))])
    largest = np.abs(wanted).max()
    difference = max(np.abs(got - wanted).max() / largest for got in (all_at_once, one_by_one))
    print(f"{arguments.onnx}: opset 17, checked; largest difference / largest logit {difference:.2e} "
          f"on {len(images)} images")
    return 0 if difference <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
