"""The latency of a network in PyTorch eager: the peer of //ml/compression:latency_benchmark.

    bazel run //ml/compression:latency_benchmark -- --export=/tmp/removed.safetensors --export_dense=/tmp/dense.safetensors
    python3 tools/benchmark/pytorch_latency.py /tmp/dense.safetensors /tmp/removed.safetensors --threads=1

(torch.) The networks are nn.Modules (tools/pytorch/prunelab_network.py), channels_last, without gradients, and
activations work in place wherever nobody else reads their input. The networks take turns.
"""

import argparse
import pathlib
import statistics
import sys
import time

import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "pytorch"))
import prunelab_network  # noqa: E402


def in_place(model):
    """Makes activations in place that are the only readers of what a layer or a sum computed."""
    nodes = {node.name: node for node in model.network.node}
    readers = {name: 0 for name in nodes}
    for node in model.network.node:
        for name in node.input:
            readers[name] += 1
    for name in model.network.output:
        readers[name] += 1
    for name, node in nodes.items():
        if node.operator not in ("relu", "elementwise") or readers[node.input[0]] > 1:
            continue
        if nodes[node.input[0]].operator not in ("conv2d", "batch_norm2d", "add", "linear", "concat"):
            continue
        module = model.get_submodule(name)
        if isinstance(module, prunelab_network.Clip):
            parent, _, last = name.rpartition(".")
            model.get_submodule(parent)._modules[last] = nn.Hardtanh(module.low, module.high, inplace=True)
        elif hasattr(module, "inplace"):
            module.inplace = True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    models, times = [], {path: [] for path in arguments.checkpoints}
    for path in arguments.checkpoints:
        model = prunelab_network.load(path, keep_masks=False).to(memory_format=torch.channels_last)
        image = next(node.image for node in model.network.node if node.operator == "image")
        images = torch.randn(arguments.batch_size, image.channels, image.height, image.width)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            wanted = model(images)
            in_place(model)
            assert torch.equal(model(images), wanted), f"{path}: not the same in place"
        models.append((path, model, images))
    with torch.no_grad():
        for run in range(-2, arguments.runs):
            for path, model, images in models:
                start = time.perf_counter()
                model(images)
                if run >= 0:
                    times[path].append(1e3 * (time.perf_counter() - start))
    for path in arguments.checkpoints:
        low, middle, high = statistics.quantiles(times[path], n=4)
        print(f"PyTorch {torch.__version__} eager, batch {arguments.batch_size}, {arguments.threads} threads, {path}: "
              f"median {middle:.2f} ms, quartiles {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
