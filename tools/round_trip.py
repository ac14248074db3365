#!/usr/bin/env python3
"""Takes a network through all programs and checks it: train, remove, train further, prune and remove again, export.

    bazel build //experiments:ablation //tools:compress //tools:evaluate
    tools/round_trip.py bazel-bin/experiments/ablation bazel-bin/tools/compress bazel-bin/tools/evaluate \\
        --onnxruntime_python=python3

It trains digits with dynamic_l1 (and the shape that this ends with from scratch), compresses the result, fine-tunes the
smaller network for one epoch with dynamic_l1, compresses it again and exports it. If --onnxruntime_python names a
Python that has onnx, onnxruntime and numpy, tools/reference/onnx_runtime.py compares the export's logits;
//tools:round_trip_test leaves this out.

With --quantize=PROGRAM (//tools:quantize) the smaller network then learns to be quantized, is exported with
QuantizeLinear, and its predictions are compared, too.

With --config=FILE it does this with the ablation of that file instead: it trains all of its runs into --output, removes
what each has masked, exports it, and compares the logits of the export, e.g.
--config=experiments/configs/mobilenet_digits.textproto.
"""

import argparse
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile

TRAIN = """
name: "first"
base {
  network { [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 } }
  dataset { [type.googleapis.com/prunelab.Digits] {} }
  training { epochs: 3 batch_size: 64 sgd { learning_rate: 0.02 momentum: 0.9 weight_decay: 1e-4 } }
}
factor { name: "pruning"
  level { name: "its_shape" patch { from_scratch { arm: "dynamic_l1" } } }
  level { name: "dynamic_l1" patch {
    pruning { [type.googleapis.com/prunelab.DynamicL1] { rate: 0.6 } }
    compression { mode: EXACT fine_tune_epochs: 1 } } }
  level { name: "lost" patch { training { sgd { learning_rate: 1e30 } } } }
  level { name: "its_shape_too" patch { from_scratch { arm: "lost" } } } }
seeds { count: 1 }
"""
TRAIN_ON = """
name: "second"
base {
  initial_weights: "%s"
  dataset { [type.googleapis.com/prunelab.Digits] {} }
  training { epochs: 1 batch_size: 64 sgd { learning_rate: 0.02 momentum: 0.9 weight_decay: 1e-4 } }
  pruning { [type.googleapis.com/prunelab.DynamicL1] { rate: 0.3 } }
}
seeds { count: 1 }
"""
TRAIN_QUANTIZED = """
name: "quantized"
base {
  initial_weights: "%s"
  dataset { [type.googleapis.com/prunelab.Digits] {} }
  training { epochs: 3 batch_size: 64 sgd { learning_rate: 0.01 momentum: 0.9 weight_decay: 1e-4 }
             quantization { start_epoch: 1 } }
}
seeds { count: 1 }
"""
DIGITS = "--dataset=[type.googleapis.com/prunelab.Digits] {}"
IMAGES = 10
PREDICTED_IMAGES = 200


def run(*command):
    process = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if process.returncode != 0:
        sys.exit("%s\nended with status %d:\n%s" % (command, process.returncode, process.stdout))
    return process.stdout


def check(what, holds):
    print("%s %s" % ("ok  " if holds else "FAIL", what), flush=True)
    if not holds:
        sys.exit(1)


def write_images(path, channels, size, count=IMAGES):
    generator = random.Random(1)
    numbers = [generator.gauss(0, 1) for _ in range(count * channels * size * size)]
    data = struct.pack("<%df" % len(numbers), *numbers)
    header = json.dumps({"images": {"dtype": "F32", "shape": [count, channels, size, size],
                                    "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def after(text, label):
    """The second number in a line of the table that compress prints."""
    return [int(n) for n in re.search(re.escape(label) + r"\s+(\d+)\s+(\d+)", text).groups()]


def export_agrees(arguments, checkpoint, onnx, folder, channels, size):
    images, logits = folder / "images.safetensors", folder / "logits.safetensors"
    write_images(images, channels, size)
    run(arguments.evaluate, "--checkpoint=%s" % checkpoint, "--input=%s" % images, "--output=%s" % logits)
    if arguments.onnxruntime_python:
        script = pathlib.Path(__file__).resolve().parent / "reference/onnx_runtime.py"
        text = run(arguments.onnxruntime_python, script, onnx, "--images=%s" % images, "--logits=%s" % logits)
        print(text.strip())
        check("onnxruntime agrees to 1e-4", True)


def quantized(arguments, train, small, folder):
    """Trains the network of `small` further so that it can be quantized; exports and compares it."""
    config = folder / "quantized.textproto"
    config.write_text(TRAIN_QUANTIZED % small)
    run(*train, "--config=%s" % config, "--output=%s" % (folder / "quantized"))
    base = folder / "quantized/base/1"
    result = json.loads((base / "result.json").read_text())
    checkpoint, onnx = base / "quantized.safetensors", folder / "quantized.onnx"
    check("the smaller network learns to be quantized",
          result["status"] == "done" and result["quantized_bytes"] == checkpoint.stat().st_size
          and checkpoint.stat().st_size < (base / "last.safetensors").stat().st_size)
    top1 = float(re.search(r"top-1\s+(\S+)", run(arguments.evaluate, "--checkpoint=%s" % checkpoint, DIGITS)).group(1))
    check("and is evaluated quantized: top-1 %.2f %%" % top1, abs(top1 - 100 * result["test_top1"]) < 0.3)
    text = run(arguments.quantize, "--checkpoint=%s" % checkpoint, "--onnx=%s" % onnx, DIGITS)
    row = re.search(r"top-1 of 359 test images\s+\S+ %\s+(\S+) %\s+(\S+) %", text)
    check("integers are as accurate: %s %%" % row.group(2), abs(float(row.group(2)) - top1) < 0.3)
    by_range, text = folder / "by_range.safetensors", run(
        arguments.quantize, "--checkpoint=%s" % small, "--output=%s" % (folder / "by_range.safetensors"), DIGITS)
    row = re.search(r"top-1 of 359 test images\s+(\S+) %\s+(\S+) %", text)
    check("quantized without training: %s %%, before %s %%" % (row.group(2), row.group(1)), by_range.exists())
    if not arguments.onnxruntime_python:
        return
    images, logits = folder / "more_images.safetensors", folder / "more_logits.safetensors"
    write_images(images, 1, 8, PREDICTED_IMAGES)
    run(arguments.evaluate, "--checkpoint=%s" % checkpoint, "--input=%s" % images, "--output=%s" % logits)
    script = pathlib.Path(__file__).resolve().parent / "reference/onnx_runtime.py"
    print(run(arguments.onnxruntime_python, script, onnx, "--images=%s" % images, "--logits=%s" % logits,
              "--predictions=0.98").strip())
    check("onnxruntime in int8 predicts the same", True)


def image_shape(checkpoint):
    """Channels and pixels of the images, from the network in a checkpoint's metadata."""
    with open(checkpoint, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    image = re.search(r"image\s*{([^}]*)}", header["__metadata__"]["network"]).group(1)
    sizes = {name: int(value) for name, value in re.findall(r"(\w+):\s*(\d+)", image)}
    if sizes["height"] != sizes["width"]:
        sys.exit("%s: images of %d x %d pixels; must be square" % (checkpoint, sizes["height"], sizes["width"]))
    return sizes["channels"], sizes["height"]


def runs_of(arguments, train, folder):
    """Trains the ablation of --config, then removes, exports and compares each of its runs."""
    output = arguments.output or folder / "runs"
    run(*train, "--config=%s" % arguments.config, "--output=%s" % output)
    results = sorted(output.glob("**/result.json"))
    check("%d runs are trained" % len(results), len(results) > 0)
    for path in results:
        result = json.loads(path.read_text())
        checkpoint = path.parent / "last.safetensors"
        print("%s: test top-1 %.2f %%" % (path.parent.relative_to(output), 100 * result["test_top1"]))
        check("it is done", result["status"] == "done")
        small, onnx = path.parent / "small.safetensors", path.parent / "small.onnx"
        text = run(arguments.compress, "--checkpoint=%s" % checkpoint, "--output=%s" % small, "--onnx=%s" % onnx,
                   "--latency=false")
        before, now = after(text, "parameters, stored constants counted")
        macs_before, macs_now = after(text, "MACs of one image")
        print("     parameters %d -> %d, MACs %d -> %d" % (before, now, macs_before, macs_now))
        if result.get("filter_sparsity", 0) > 0:
            check("removal makes it smaller", now < before and macs_now < macs_before)
        if "removed_test_top1" in result:
            check("and leaves its accuracy", result["removed_test_top1"] == result["test_top1"])
        export_agrees(arguments, small, onnx, folder, *image_shape(small))
    print("%d runs: all well" % len(results))


def main():
    parser = argparse.ArgumentParser()
    for program in ("ablation", "compress", "evaluate"):
        parser.add_argument(program, type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--onnxruntime_python")
    parser.add_argument("--quantize", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--config", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--output", type=lambda p: pathlib.Path(p).resolve())
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR")))
    train = (arguments.ablation, "--device=cpu", "--jobs=2", "--threads_per_run=1")
    if arguments.config:
        runs_of(arguments, train, folder)
        return

    (folder / "first.textproto").write_text(TRAIN)
    alone = subprocess.run([str(c) for c in train] + ["--config=%s" % (folder / "first.textproto"), "--arms=its_shape",
                                                      "--output=%s" % (folder / "alone")],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check("a shape without the arm that it comes from is refused, and nothing is written",
          alone.returncode == 2 and "takes its shape from dynamic_l1 seed 1" in alone.stderr
          and not (folder / "alone").exists())
    process = subprocess.run([str(c) for c in train] + ["--config=%s" % (folder / "first.textproto"),
                                                        "--output=%s" % (folder / "first")],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lost, waited = (json.loads((folder / "first" / arm / "1/result.json").read_text())
                    for arm in ("lost", "its_shape_too"))
    check("a shape whose run diverged is a failed run that says so, and the others go on",
          process.returncode == 1 and lost["status"] == "diverged" and waited["status"] == "failed"
          and waited["message"].endswith("lost seed 1, diverged"))
    first = folder / "first/dynamic_l1/1"
    result = json.loads((first / "result.json").read_text())
    check("a run with compression is done", result["status"] == "done")
    check("it holds what removal left", result["physical_parameters"] < result["parameters"] / 2
          and result["physical_parameters"] == result["live_parameters"]
          and result["physical_macs"] == result["live_macs"])
    check("its accuracy stays in exact mode", result["removed_test_top1"] == result["test_top1"])
    check("and it was fine-tuned", 0 < result["fine_tuned_test_top1"] <= 1)
    check("no clock is in the result", not any("latency" in key for key in result))
    latency = json.loads((first / "latency.json").read_text())
    check("latencies stand apart", all(latency["latency_%d_%s" % (b, n)] > 0
                                       for b in (1, 64) for n in ("dense", "removed")))
    header, *lines = (folder / "first/results.csv").read_text().splitlines()
    check("and in results.csv", "latency_64_removed" in header and len(lines) == 4)
    shape = json.loads((folder / "first/its_shape/1/result.json").read_text())
    check("the shape of another arm is trained from scratch, after it",
          shape["status"] == "done" and shape["macs"] == result["physical_macs"])

    small, again, onnx = folder / "small.safetensors", folder / "again.safetensors", folder / "again.onnx"
    text = run(arguments.compress, "--checkpoint=%s" % (first / "last.safetensors"), "--output=%s" % small, DIGITS)
    before, now = after(text, "parameters, stored constants counted")
    check("compress leaves what the run measured",
          (before, now) == (result["parameters"], result["physical_parameters"]))
    top1 = [re.search(r"top-1 .*", run(arguments.evaluate, "--checkpoint=%s" % path, DIGITS)).group()
            for path in (first / "last.safetensors", small)]
    check("which has the same accuracy", top1[0] == top1[1])

    (folder / "second.textproto").write_text(TRAIN_ON % small)
    run(*train, "--config=%s" % (folder / "second.textproto"), "--output=%s" % (folder / "second"))
    second = folder / "second/base/1"
    result = json.loads((second / "result.json").read_text())
    check("the smaller network trains on, pruned once more",
          result["status"] == "done" and result["macs"] == after(text, "MACs of one image")[1]
          and result["filter_sparsity"] > 0.25)
    text = run(arguments.compress, "--checkpoint=%s" % (second / "last.safetensors"), "--output=%s" % again,
               "--onnx=%s" % onnx, "--latency=false")
    before, later = after(text, "parameters, stored constants counted")
    check("and becomes smaller again", later < before and onnx.stat().st_size > 0)

    export_agrees(arguments, again, onnx, folder, 1, 8)
    if arguments.quantize:
        quantized(arguments, train, small, folder)
    print("a round trip: all well")


if __name__ == "__main__":
    main()
