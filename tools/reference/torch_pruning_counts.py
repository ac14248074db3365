"""Writes ml/compression/torch_pruning_values.h: sizes of networks after Torch-Pruning removed coupled channels.

Usage: torch_pruning_counts.py > ml/compression/torch_pruning_values.h    (torch 2.11.0, torchvision 0.26.0,
torch-pruning 1.6.0)

With --checkpoint=last.safetensors, of a ResNetCifar trained by this project, it prints instead what Torch-Pruning
leaves when it removes the groups whose filters are all dead (but keeps the first in a layer where none is alive), for
comparison with `bazel run //tools:compress -- --mode=coupled --checkpoint=last.safetensors --output=small.safetensors`.

coupled_test.cc uses the same rule for which channels are removed: channel c of the group whose first convolution
(ignoring shortcuts) is called `name` is removed if (7 c + 3 len(name)) % 10 < 4.
"""

import argparse
import json
import struct

import numpy as np
import torch
import torch_pruning
import torchvision
from torch import nn


class Block(nn.Module):
    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Sequential()
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.downsample(x))


class ResNetCifar(nn.Module):
    def __init__(self, depth, width=16, images=3, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(images, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage in range(3):
            blocks = []
            for block in range((depth - 2) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Block(channels, width << stage, stride))
                channels = width << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def macs(model, images):
    total = [0]

    def count(module, _, output):
        pixels = output.shape[2] * output.shape[3] if output.dim() == 4 else 1
        total[0] += module.weight.numel() * pixels

    handles = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    model(images)
    for handle in handles:
        handle.remove()
    return total[0]


def removed(model, size):
    """Parameters and multiply-accumulates, and the outputs of each convolution, after the removal."""
    model.eval()
    images = torch.zeros(1, 3, size, size)
    before = sum(p.numel() for p in model.parameters()), macs(model, images)
    graph = torch_pruning.DependencyGraph().build_dependency(model, images)
    convs = {m: name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    done = set()
    for conv, name in convs.items():
        if conv in done or "downsample" in name:
            continue
        which = [c for c in range(conv.out_channels) if (7 * c + 3 * len(name)) % 10 < 4]
        group = graph.get_pruning_group(conv, torch_pruning.prune_conv_out_channels, idxs=which)
        done |= {d.target.module for d, _ in group if graph.is_out_channel_pruning_fn(d.handler)} & set(convs)
        group.prune()
    return before, (sum(p.numel() for p in model.parameters()), macs(model, images))


def read(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    kinds = {"F32": np.float32, "I64": np.int64}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            numbers = np.frombuffer(data[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
            tensors[name] = torch.from_numpy(numbers.copy())
    return tensors, header["__metadata__"]["network"]


def removed_from_checkpoint(path):
    tensors, network = read(path)
    size = int(network.split("height: ")[1].split()[0])
    masks = {name[: -len(".mask")]: tensors.pop(name) for name in list(tensors) if name.endswith(".mask")}
    width, images = tensors["conv1.weight"].shape[:2]
    depth = 2 + sum(".conv" in name and name.endswith("weight") for name in tensors)
    model = ResNetCifar(depth, width, images, tensors["fc.weight"].shape[0])
    model.load_state_dict(tensors)
    model.eval()
    images = torch.zeros(1, images, size, size)
    before = sum(p.numel() for p in model.parameters()), macs(model, images)
    graph = torch_pruning.DependencyGraph().build_dependency(model, images)
    convs = {m: name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    dead = {conv: (conv.weight * masks.get(name, 1)).flatten(1).eq(0).all(1) for conv, name in convs.items()}
    done, groups = set(), []
    for conv in convs:
        if conv in done:
            continue
        everything = list(range(conv.out_channels))
        group = graph.get_pruning_group(conv, torch_pruning.prune_conv_out_channels, idxs=everything)
        members = {d.target.module for d, _ in group if graph.is_out_channel_pruning_fn(d.handler)} & set(convs)
        done |= members
        gone = torch.stack([dead[m] for m in members]).all(0).nonzero().flatten().tolist()
        groups.append((conv, gone[1:] if len(gone) == conv.out_channels else gone))
    for conv, gone in groups:
        if gone:
            graph.get_pruning_group(conv, torch_pruning.prune_conv_out_channels, idxs=gone).prune()
    after = sum(p.numel() for p in model.parameters()), macs(model, images)
    print(f"{path}: parameters {before[0]} -> {after[0]}, MACs {before[1]} -> {after[1]}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint")
    arguments = parser.parse_args()
    if arguments.checkpoint:
        removed_from_checkpoint(arguments.checkpoint)
        return
    networks = [
        ("ResNetCifar", "depth: 20", 32, ResNetCifar(20)),
        ("ResNetCifar", "depth: 56", 32, ResNetCifar(56)),
        ("ResNetImageNet", "depth: 18 image_size: 64", 64, torchvision.models.resnet18()),
        ("ResNetImageNet", "depth: 50 image_size: 64", 64, torchvision.models.resnet50()),
    ]
    print(f"// Made by tools/reference/torch_pruning_counts.py with torch-pruning {torch_pruning.__version__}.")
    print("#pragma once\n\n#include <cstdint>\n\nnamespace prunelab {\n")
    print("struct TorchPruningCounts {\n  const char* family;\n  const char* parameters;  // text proto")
    print("  int64_t parameters_before, macs_before, parameters_after, macs_after;\n};\n")
    print("inline constexpr TorchPruningCounts kTorchPruningCounts[] = {")
    for family, parameters, size, model in networks:
        (p0, m0), (p1, m1) = removed(model, size)
        print(f'    {{"{family}", "{parameters}", {p0}, {m0}, {p1}, {m1}}},')
    print("};\n\n}  // namespace prunelab")


if __name__ == "__main__":
    main()
