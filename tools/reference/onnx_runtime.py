"""Compares exported networks in onnxruntime with the values that prunelab computes.

    onnx_runtime.py small.onnx --images=x.safetensors --logits=y.safetensors     (onnx, onnxruntime, numpy, safetensors)
    onnx_runtime.py FOLDER

One file has `images` [N, C, H, W] float32, the other `logits` [N, classes] and further outputs by name, as
`//tools:evaluate --input --output` reads and writes them. This checks the model, runs it with batch sizes 1 and N, and
fails if a value differs by more than 1e-4 of its output's largest. With --predictions=0.98 it fails instead if the
largest output of less than that share of the images is the same one: of quantized networks, whose values may take
another place on a grid.

A FOLDER has models with images and outputs in one file each: those of random networks of all operators, which
`PRUNELAB_ONNX_FOLDER=FOLDER bazel-bin/ml/compression/onnx_export_test` writes.
"""

import argparse
import json
import pathlib
import struct
import sys

import numpy as np
import onnx
import onnxruntime


def read(path):
    """All float32 tensors of a safetensors file, by name."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F32", (name, entry)
        tensors[name] = np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"])
    return tensors


def compare(path, images, wanted):
    """The largest difference over the largest value of its output."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 17
    names = [output.name for output in model.graph.output]
    assert names[0] == "logits" and set(names) <= set(wanted), (names, list(wanted))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    all_at_once = session.run(names, {"images": images})
    one_by_one = [session.run(names, {"images": images[i : i + 1]}) for i in range(len(images))]
    worst = 0
    for k, name in enumerate(names):
        for got in (all_at_once[k], np.concatenate([values[k] for values in one_by_one])):
            # What depends on no image may have a batch of one.
            expected = np.broadcast_to(wanted[name], got.shape) if len(wanted[name]) == 1 else wanted[name]
            assert len(got) in (1, len(images)) and got.shape[1:] == expected.shape[1:], (name, got.shape)
            largest = max(np.abs(expected).max(), 1e-3)
            worst = max(worst, np.abs(got - expected).max() / largest)
    return worst


def same_predictions(path, images, wanted):
    """The share of images."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"images": images})[0]
    return float(np.mean(logits.argmax(1) == wanted["logits"].argmax(1)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("onnx", type=pathlib.Path)
    parser.add_argument("--predictions", type=float)
    parser.add_argument("--images")
    parser.add_argument("--logits")
    arguments = parser.parse_args()
    if not arguments.onnx.is_dir():
        images = read(arguments.images)["images"]
        if arguments.predictions:
            share = same_predictions(arguments.onnx, images, read(arguments.logits))
            print(f"{arguments.onnx}: opset 17, checked; the same prediction for {100 * share:.1f} % of {len(images)} "
                  "images")
            return 0 if share >= arguments.predictions else 1
        difference = compare(arguments.onnx, images, read(arguments.logits))
        print(f"{arguments.onnx}: opset 17, checked; largest difference / largest logit {difference:.2e} "
              f"on {len(images)} images")
        return 0 if difference <= 1e-4 else 1
    paths, wrong, worst = sorted(arguments.onnx.glob("*.onnx")), 0, 0
    for path in paths:
        tensors = read(path.with_suffix(".safetensors"))
        try:
            difference = compare(path, tensors["images"], tensors)
        except Exception as error:  # the next models may be right
            print(f"{path}: {error}")
            difference = np.inf
        if not difference <= 1e-4:
            print(f"{path}: {difference:.2e}")
            wrong += 1
        else:
            worst = max(worst, difference)
    print(f"{len(paths)} models, {wrong} wrong; largest difference of the others / largest value {worst:.2e}")
    return 1 if wrong or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
