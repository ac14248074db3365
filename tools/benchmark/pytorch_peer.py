"""A whole training step in PyTorch, written well, with which //experiments:step_benchmark is compared.

It uses channels_last, fused SGD and in-place ReLUs. A custom autograd function applies masks. The correlation penalty
computes one Gram matrix for all layers of the same shape. Prints one JSON object with step_benchmark's keys.

  python3 tools/benchmark/pytorch_peer.py --gradient=straight_through --penalty --rate=0.6 [--compile | --graph]

On a GPU, --graph captures the whole step once, from the normalization of the images to the optimizer, and replays it.
There float32 is IEEE's, unless --tf32 lets convolutions and matrix products round to TF32. It needs torch 2.11 (pip
install torch==2.11.0). compare.py runs both sides, this one with --on_request: then one process is compiled and warmed up
once and times a few steps whenever it is asked.
"""

import argparse
import json
import resource
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

WARM_UP = {"cpu": 3, "cuda": 10}


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(context, weight, mask):
        return weight * mask

    @staticmethod
    def backward(context, gradient):
        return gradient, None


class MaskedConv(nn.Conv2d):
    """A convolution without bias. `gradient`: none (filters are not masked), straight_through or masked."""

    gradient = "none"

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords, bias=False)
        self.register_buffer("mask", torch.ones(self.out_channels, 1, 1, 1))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        weight = self.weight
        if MaskedConv.gradient == "straight_through":
            weight = StraightThrough.apply(weight, self.mask)
        elif MaskedConv.gradient == "masked":
            weight = weight * self.mask
        return functional.conv2d(x, weight, None, self.stride, self.padding, 1, self.groups)


class Block(nn.Module):
    """A basic block with projection shortcut (He et al. 2016)."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = MaskedConv(channels_in, channels, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = MaskedConv(channels, channels, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(MaskedConv(channels_in, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet(nn.Module):
    """A network for 32x32 images: a 3x3 stem, then stages of basic blocks, each twice as wide as the previous one."""

    def __init__(self, width, blocks, classes=10):
        super().__init__()
        self.conv1 = MaskedConv(3, width, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(width)
        layers, channels_in = [], width
        for stage, count in enumerate(blocks):
            for block in range(count):
                layers.append(Block(channels_in, width << stage, 2 if stage > 0 and block == 0 else 1))
                channels_in = width << stage
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(channels_in, classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.fc(self.layers(x).mean((2, 3)))


class InvertedResidual(nn.Module):
    """A block of MobileNetV2 (Sandler et al. 2018): to more channels, a depthwise convolution, back to few."""

    def __init__(self, channels_in, channels, stride, expansion):
        super().__init__()
        inner = channels_in * expansion
        layers = []
        if expansion != 1:
            layers += [MaskedConv(channels_in, inner, 1), nn.BatchNorm2d(inner), nn.ReLU6(inplace=True)]
        layers += [MaskedConv(inner, inner, 3, stride, 1, groups=inner), nn.BatchNorm2d(inner), nn.ReLU6(inplace=True)]
        layers += [MaskedConv(inner, channels, 1), nn.BatchNorm2d(channels)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x):
        y = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """For 32x32 images, which it halves three times."""

    def __init__(self, classes=10):
        super().__init__()
        layers = [MaskedConv(3, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU6(inplace=True)]
        channels_in = 32
        for expansion, channels, blocks, stride in [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2),
                                                    (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
            for block in range(blocks):
                layers.append(InvertedResidual(channels_in, channels, stride if block == 0 else 1, expansion))
                channels_in = channels
        layers += [MaskedConv(channels_in, 1280, 1), nn.BatchNorm2d(1280), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(1280, classes)

    def forward(self, x):
        return self.fc(self.layers(x).mean((2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, channels_in, growth):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels_in), MaskedConv(channels_in, 4 * growth, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), MaskedConv(4 * growth, growth, 3, 1, 1)

    def forward(self, x):
        y = self.conv1(functional.relu(self.norm1(x), inplace=True))
        y = self.conv2(functional.relu(self.norm2(y), inplace=True))
        return torch.cat([x, y], 1)


class DenseNet(nn.Module):
    """DenseNet-BC (Huang et al. 2017) for 32x32 images."""

    def __init__(self, depth, growth, classes=10):
        super().__init__()
        channels = 2 * growth
        layers = [MaskedConv(3, channels, 3, 1, 1)]
        for block in range(3):
            for _ in range((depth - 4) // 6):
                layers.append(DenseLayer(channels, growth))
                channels += growth
            layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            if block < 2:
                layers += [MaskedConv(channels, channels // 2, 1), nn.AvgPool2d(2)]
                channels //= 2
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        return self.fc(self.layers(x).mean((2, 3)))


NETWORKS = {
    "resnet20": lambda: ResNet(16, (3, 3, 3)),
    "resnet56": lambda: ResNet(16, (9, 9, 9)),
    "resnet18": lambda: ResNet(64, (2, 2, 2, 2)),
    "mobilenet_v2": MobileNetV2,
    "densenet_bc_100": lambda: DenseNet(100, 12),
}


def groups_by_shape(convs):
    groups = {}
    for conv in convs:
        if conv.kernel_size[0] > 1:
            groups.setdefault(tuple(conv.weight.shape), []).append(conv)
    return list(groups.values())


def correlation_penalty(groups, delta=1e-2):
    """sum over layers of the mean over pairs of live filters of sqrt(rho^2 + delta^2) - delta."""
    total = 0
    for convs in groups:
        rows = torch.stack([conv.weight.flatten(1) for conv in convs])
        live = torch.stack([conv.mask.flatten() for conv in convs])
        centred = rows - rows.mean(2, keepdim=True)
        unit = centred / centred.norm(dim=2, keepdim=True)
        rho = torch.bmm(unit, unit.transpose(1, 2))
        pairs = live.unsqueeze(1) * live.unsqueeze(2)
        pairs = pairs - torch.diag_embed(pairs.diagonal(dim1=1, dim2=2))
        value = ((rho.square() + delta**2).sqrt() - delta) * pairs
        total = total + (value.sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)).sum()
    return total


def uniform_masks(convs, rate):
    generator = torch.Generator().manual_seed(1)
    for conv in convs:
        off = torch.randperm(conv.out_channels, generator=generator)[:int(rate * conv.out_channels)].to(conv.mask.device)
        conv.mask.fill_(1)[off] = 0


def global_masks(convs, rate):
    """The masks of the paper's ranking, computed and discarded as step_benchmark does."""
    with torch.no_grad():
        importances = [conv.weight.abs().mean((1, 2, 3)) for conv in convs]
        every = torch.cat(importances)
        threshold = every.kthvalue(int(rate * every.numel()) + 1).values
        return [importance > threshold for importance in importances]


def memory(key):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(key):
                return 1024 * int(line.split()[1])
    return 0


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def captured(learn, images, labels):
    """`learn` as one CUDA graph, which is replayed on each batch's images and labels; its result is overwritten then."""
    images, labels = images.clone(), labels.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # libraries set themselves up, and the optimizer makes its momentum
            learn(images, labels)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = learn(images, labels)

    def replay(batch, its_labels):
        images.copy_(batch)
        labels.copy_(its_labels)
        graph.replay()
        return loss

    return replay


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="resnet56")
    parser.add_argument("--gradient", choices=["none", "straight_through", "masked"], default="none")
    parser.add_argument("--penalty", action="store_true")
    parser.add_argument("--rate", type=float, default=0, help="of each layer's filters that are off")
    parser.add_argument("--autocast", action="store_true", help="the forward pass under autocast to bfloat16")
    parser.add_argument("--tf32", action="store_true", help="on cuda, float32 products round their factors to TF32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--graph", action="store_true", help="on cuda: the whole step is one CUDA graph")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--on_request", action="store_true",
                        help="says when it is ready, then times --steps steps for each line of standard input")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu",
                        help="on cuda, --compile records CUDA graphs too (mode reduce-overhead)")
    arguments = parser.parse_args()
    device, on_gpu = arguments.device, arguments.device == "cuda"
    if arguments.graph and (arguments.compile or not on_gpu):
        parser.error("--graph goes with --device=cuda, and without --compile")
    if on_gpu:
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    warm_up = WARM_UP[device]
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    MaskedConv.gradient = arguments.gradient
    model = NETWORKS[arguments.network]().to(device, memory_format=torch.channels_last).train()
    convs = [module for module in model.modules() if isinstance(module, MaskedConv)]
    uniform_masks(convs, arguments.rate)
    groups = groups_by_shape(convs)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, fused=True)

    def loss_of(x, y):
        with torch.autocast(device, dtype=torch.bfloat16, enabled=arguments.autocast):
            logits = model(x)
        loss = functional.cross_entropy(logits.float(), y)
        return (loss + 0.7 * correlation_penalty(groups), loss) if arguments.penalty else (loss, loss)

    step_loss = torch.compile(loss_of, mode="reduce-overhead" if on_gpu else None) if arguments.compile else loss_of
    total = arguments.steps + warm_up
    images = torch.randint(0, 256, (total * arguments.batch, 3, 32, 32), dtype=torch.uint8, device=device)
    labels = torch.arange(total * arguments.batch, device=device) % 10
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
    before = 0 if on_gpu else memory("VmRSS:")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()

    def normalized(part):
        return ((part.float() / 255 - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)

    def learn(part, y):
        optimizer.zero_grad(set_to_none=True)
        objective, loss = step_loss(normalized(part), y)
        objective.backward()
        optimizer.step()
        return loss

    if arguments.graph:
        learn = captured(learn, images[:arguments.batch], labels[:arguments.batch])

    def one_step(step):
        first = step % total * arguments.batch
        part = slice(first, first + arguments.batch)
        if arguments.gradient == "straight_through" and (step + 1) % 4 == 0:
            global_masks(convs, 0.6)
        return learn(images[part], labels[part])

    def measured(first):
        """The times of --steps steps from number `first` on. Steps do not synchronize with a GPU: there all are timed
        together."""
        seconds, cpu = [], []
        if on_gpu:
            torch.cuda.synchronize()
        begin, cpu_begin = time.perf_counter(), cpu_seconds()
        for step in range(first, first + arguments.steps):
            start, cpu_start = time.perf_counter(), cpu_seconds()
            value = one_step(step)
            if not on_gpu:
                value = value.item()
                seconds.append(time.perf_counter() - start)
                cpu.append(cpu_seconds() - cpu_start)
        if on_gpu:
            torch.cuda.synchronize()
            seconds.append((time.perf_counter() - begin) / arguments.steps)
            cpu.append((cpu_seconds() - cpu_begin) / arguments.steps)
            value = value.item()
        peak = torch.cuda.max_memory_reserved() if on_gpu else memory("VmHWM:")
        median = statistics.median(seconds)
        return {"milliseconds": 1e3 * median, "images_per_second": arguments.batch / median,
                "cpu_milliseconds": 1e3 * statistics.median(cpu), "peak_bytes": peak - before, "loss": value,
                "batch": arguments.batch, "threads": arguments.threads, "torch": torch.__version__}

    for step in range(warm_up):
        one_step(step).item()
    if not arguments.on_request:
        print(json.dumps(measured(warm_up)))
        return
    print(json.dumps({"ready": True}), flush=True)
    for round_number, _ in enumerate(sys.stdin):
        print(json.dumps(measured(warm_up + round_number * arguments.steps)), flush=True)


if __name__ == "__main__":
    main()
