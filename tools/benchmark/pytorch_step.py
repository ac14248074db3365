"""The training step of this project's ResNet-20 in PyTorch, written well: eager, channels_last, fused SGD.

It prints one JSON object: images per second of training steps on CIFAR-10's binary files (random crop with padding 4,
the data in memory), for comparison with the images/s that //experiments:ablation prints for the same network, batch and
data.

  python3 tools/benchmark/pytorch_step.py --data=data/cifar-10-batches-bin [--batch=128] [--steps=200] [--threads=2]

It needs torch 2.11 (pip install torch==2.11.0).
"""

import argparse
import json
import pathlib
import statistics
import time

import torch
from torch.nn import functional

from pytorch_peer import ResNet


def load(folder):
    images, labels = [], []
    for i in range(1, 6):
        raw = torch.frombuffer(bytearray((pathlib.Path(folder) / f"data_batch_{i}.bin").read_bytes()), dtype=torch.uint8)
        records = raw.view(-1, 3073)
        labels.append(records[:, 0].long())
        images.append(records[:, 1:].view(-1, 3, 32, 32))
    return torch.cat(images), torch.cat(labels)


def batch_of(images, labels, index, padding):
    """Random crops, normalized, by one gather for the whole batch."""
    padded = functional.pad(images[index], (padding,) * 4)
    n = len(index)
    offsets = torch.randint(0, 2 * padding + 1, (2, n))
    rows = (offsets[0][:, None] + torch.arange(32))[:, None, :, None]
    columns = (offsets[1][:, None] + torch.arange(32))[:, None, None, :]
    cropped = padded[torch.arange(n)[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns]
    x = (cropped.float() / 255 - 0.5) / 0.5
    return x.contiguous(memory_format=torch.channels_last), labels[index]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/cifar-10-batches-bin")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    images, labels = load(arguments.data)
    model = ResNet(16, 3 * ((arguments.depth - 2) // 6,)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    seconds = []
    order = torch.randperm(len(labels))
    for step in range(arguments.steps + 5):
        start = time.perf_counter()
        first = step * arguments.batch % (len(labels) - arguments.batch)
        x, y = batch_of(images, labels, order[first:first + arguments.batch], 4)
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        loss.item()
        if step >= 5:
            seconds.append(time.perf_counter() - start)
    print(json.dumps({
        "images_per_second": arguments.batch * len(seconds) / sum(seconds),
        "median_images_per_second": arguments.batch / statistics.median(seconds),
        "depth": arguments.depth, "batch": arguments.batch, "threads": arguments.threads, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
