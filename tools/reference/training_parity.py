"""Writes ml/training/parity.safetensors: training steps of ResNet-20 and ResNet-56 by PyTorch, in float64.

    python3 tools/reference/training_parity.py [OUTPUT]

It needs torch 2.11 and numpy and uses none of the project's code: it has torch.nn modules, torch.optim.SGD, masks by an
autograd function, penalties by autograd, and its own version of the generator for shuffling. Initial weights, images
and labels follow from integer hashes that ml/training/parity_test.cc computes too. A case contains

    logits_train, logits_eval   of the first batch at the start [B, 10]
    loss                        of each of 24 steps [24]
    gradient                    of the first step's loss, a row of ENTRIES + 2 numbers a parameter
    weights_1, weights_10       parameters after 1 and 10 steps, likewise
    buffers_1, buffers_10       running means and variances, likewise
    masks                       [24, convolutions, 2] int64 after each step: how many are on, and a sum that tells where
    growth                      [24]: the relative difference of the loss of the same steps when the images of each
                                batch are in reverse order, which only changes how sums are rounded

and a row is the tensor's sum, its norm, and ENTRIES of its entries.
"""

import json
import struct
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional

ENTRIES = 16
SIZE, IMAGES, BATCH, EPOCHS, SEED = 16, 46, 6, 3, 7
MOMENTUM, WEIGHT_DECAY = 0.9, 1e-3
# In the deeper network rounding errors grow a thousand times faster at 0.05 (see `growth`).
LEARNING_RATE = {20: 0.05, 56: 0.01}
M64 = (1 << 64) - 1


# The shuffling's random stream.


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & M64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M64
    return x ^ (x >> 31)


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def order_of(epoch):
    name = 0xCBF29CE484222325
    for byte in b"shuffle":
        name = ((name ^ byte) * 0x100000001B3) & M64
    key = mix(SEED ^ mix(name))
    stream = mix(epoch) ^ mix((mix(0) + 1) & M64)
    words, block = [], 0

    def next64():
        nonlocal block
        if not words:
            words.extend(philox([block, 0, stream & 0xFFFFFFFF, stream >> 32], [key & 0xFFFFFFFF, key >> 32]))
            block += 1
        low = words.pop(0)
        return low | words.pop(0) << 32

    order = list(range(IMAGES))
    for i in range(IMAGES - 1, 0, -1):
        j = next64() % (i + 1)
        order[i], order[j] = order[j], order[i]
    return order


# Weights and data by hashes.


def hashes(n, salt):
    x = (np.arange(n, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(salt * 40503 + 12345)) & np.uint64(0xFFFFFFFF)
    for shift in (16, 15):
        x = ((x ^ (x >> np.uint64(shift))) * np.uint64(0x45D9F3B)) & np.uint64(0xFFFFFFFF)
    return (x ^ (x >> np.uint64(16))).astype(np.float64)


def uniform(n, salt):
    return hashes(n, salt) / 2.0**31 - 1.0


def initialize(model):
    for index, parameter in enumerate(model.parameters()):
        n = parameter.numel()
        u = uniform(n, index + 1)
        if parameter.dim() == 4:
            out, _, kh, kw = parameter.shape
            u = u * np.sqrt(6.0 / (out * kh * kw))
        elif parameter.dim() == 2:
            u = u / np.sqrt(float(parameter.shape[1]))
        elif index % 3 == 1:
            u = 1.0 + 0.25 * u
        else:
            u = 0.1 * u
        parameter.data.copy_(torch.from_numpy(u).view(parameter.shape))


def data():
    pixels = (hashes(IMAGES * 3 * SIZE * SIZE, 1001) % 256).astype(np.float64)
    images = torch.from_numpy((pixels * (1.0 / 255) - 0.5) / 0.5).view(IMAGES, 3, SIZE, SIZE)
    labels = torch.from_numpy((hashes(IMAGES, 1002) % 10).astype(np.int64))
    return images, labels


# The network.


class Mask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, mask, masked_gradient):
        ctx.masked_gradient = masked_gradient
        ctx.save_for_backward(mask)
        return weight * mask

    @staticmethod
    def backward(ctx, gradient):
        (mask,) = ctx.saved_tensors
        return (gradient * mask if ctx.masked_gradient else gradient), None, None


class Conv(nn.Conv2d):
    masked_gradient = False

    def __init__(self, channels_in, channels, kernel, stride):
        super().__init__(channels_in, channels, kernel, stride, kernel // 2, bias=False)
        self.mask = None

    def forward(self, x):
        weight = self.weight if self.mask is None else Mask.apply(self.weight, self.mask, self.masked_gradient)
        return functional.conv2d(x, weight, None, self.stride, self.padding)


class Block(nn.Module):
    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1, self.bn1 = Conv(channels_in, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = Conv(channels, channels, 3, 1), nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(Conv(channels_in, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.conv1, self.bn1 = Conv(3, 16, 3, 1), nn.BatchNorm2d(16)
        channels_in = 16
        for stage in range(3):
            blocks = []
            for block in range((depth - 2) // 6):
                blocks.append(Block(channels_in, 16 << stage, 2 if stage and not block else 1))
                channels_in = 16 << stage
            setattr(self, "layer%d" % (stage + 1), nn.Sequential(*blocks))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


# Masks: (granularity, importance, rate, when). Importances are compared strictly with the sorted list's entry int(n * rate).


def importance_of(conv, granularity, kind):
    weight = conv.weight.detach()
    value = {"l1": lambda: weight.abs(), "l2": lambda: weight**2, "gradient": lambda: conv.last_gradient.abs(),
             "weight_times_gradient": lambda: (weight * conv.last_gradient).abs()}[kind]()
    return value.mean((1, 2, 3), keepdim=True) if granularity == "filter" else value


def set_masks(convs, granularity, kind, rate):
    importances = [importance_of(conv, granularity, kind) for conv in convs]
    everything = torch.cat([i.flatten() for i in importances]).sort().values
    threshold = everything[int(len(everything) * rate)]
    for conv, importance in zip(convs, importances):
        conv.mask = (importance > threshold).double()


def mask_summary(convs):
    rows = []
    for conv in convs:
        mask = torch.ones(conv.out_channels) if conv.mask is None else conv.mask.flatten()
        on = mask.nonzero().flatten().numpy().astype(np.int64)
        rows.append([len(on), int(((on + 1) * (on + 1) % 1000003).sum())])
    return rows


# Penalties.


def live_rows(conv):
    weight = conv.weight if conv.mask is None else conv.weight * conv.mask
    live = torch.ones(conv.out_channels, dtype=torch.bool) if conv.mask is None else conv.mask.flatten(1).any(1)
    return weight[live]


def correlation_penalty(phi):
    def penalty(convs):
        total = 0
        for conv in convs:
            if conv.kernel_size == (1, 1):
                continue
            rows = live_rows(conv).flatten(1)
            if len(rows) >= 2:
                i, j = torch.triu_indices(len(rows), len(rows), 1)
                total = total + phi(torch.corrcoef(rows)[i, j]).mean()
        return total

    return penalty


def kernel_cov_penalty(convs):
    total, slices = 0, 0
    for conv in convs:
        if conv.kernel_size != (1, 1):
            kernels = live_rows(conv).flatten(0, 1)
            centred = kernels - kernels.mean(2, keepdim=True)
            covariance = centred @ centred.transpose(1, 2) / (kernels.shape[2] - 1)
            total = total + covariance.triu().abs().sum()
            slices += len(kernels)
    return total / slices


PENALTIES = {
    "cov": correlation_penalty(lambda r: (r * r + 1e-4) ** 0.5 - 1e-2),
    "squared_correlation": correlation_penalty(lambda r: r * r),
    "kernel_cov": kernel_cov_penalty,
}


class Case:
    def __init__(self, name, depth, masks=None, masked_gradient=False, penalty=None, weight=0.0):
        self.name, self.depth, self.masks, self.masked_gradient = name, depth, masks, masked_gradient
        self.penalty, self.weight = penalty, weight


def every_fourth(epoch, iteration):
    return (iteration + 1) % 4 == 0


def at_epoch_1(epoch, iteration):
    return epoch == 1 and iteration == 0


def at_start(epoch, iteration):
    return epoch == 0 and iteration == 0


CASES = [
    Case("resnet20_dense", 20),
    Case("resnet20_dynamic", 20, ("filter", "l1", 0.6, every_fourth)),
    Case("resnet20_dynamic_l2", 20, ("filter", "l2", 0.6, every_fourth)),
    Case("resnet20_dynamic_gradient", 20, ("filter", "gradient", 0.6, every_fourth)),
    Case("resnet20_dynamic_weight_times_gradient", 20, ("filter", "weight_times_gradient", 0.6, every_fourth)),
    Case("resnet20_dynamic_weights", 20, ("weight", "weight_times_gradient", 0.6, every_fourth)),
    Case("resnet20_static", 20, ("filter", "l1", 0.6, at_epoch_1), True),
    Case("resnet20_unstructured", 20, ("weight", "l1", 0.9, at_start)),
    Case("resnet20_unstructured_masked", 20, ("weight", "l1", 0.9, at_start), True),
    Case("resnet20_cov", 20, None, False, "cov", 0.7),
    Case("resnet20_squared_correlation", 20, None, False, "squared_correlation", 0.7),
    Case("resnet20_kernel_cov", 20, None, False, "kernel_cov", 0.7),
    Case("resnet20_dynamic_cov", 20, ("filter", "l1", 0.6, every_fourth), False, "cov", 0.7),
    Case("resnet20_unstructured_cov", 20, ("weight", "l1", 0.9, at_start), True, "cov", 0.7),
    Case("resnet56_dense", 56),
    Case("resnet56_dynamic", 56, ("filter", "l1", 0.6, every_fourth)),
    Case("resnet56_unstructured", 56, ("weight", "l1", 0.9, at_start)),
]


def row(tensor):
    flat = tensor.detach().flatten()
    entries = [(k * 2654435761 + 12345) % len(flat) for k in range(ENTRIES)]
    return [float(flat.sum()), float(flat.norm())] + [float(flat[i]) for i in entries]


def table(tensors):
    return np.array([row(t) for t in tensors])


def run(case, reverse):
    model = ResNet(case.depth).double()
    initialize(model)
    convs = [m for m in model.modules() if isinstance(m, Conv)]
    for conv in convs:
        conv.masked_gradient = case.masked_gradient
    running = [b for name, b in model.named_buffers() if "num_batches" not in name]
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE[case.depth], momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    images, labels = data()
    iterations = -(-IMAGES // BATCH)
    out = {"loss": [], "masks": []}
    first = order_of(0)[:BATCH]
    model.eval()
    out["logits_eval"] = model(images[first]).detach().numpy()
    model.train()
    for epoch in range(EPOCHS):
        order = order_of(epoch)
        for iteration in range(iterations):
            batch = order[iteration * BATCH:(iteration + 1) * BATCH]
            if reverse:
                batch = batch[::-1]
            if case.masks and case.masks[3](epoch, iteration):
                set_masks(convs, *case.masks[:3])
            logits = model(images[batch])
            loss = functional.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            for conv in convs:
                conv.last_gradient = conv.weight.grad.clone()
            step = epoch * iterations + iteration
            if step == 0:
                out["logits_train"] = logits.detach().numpy()
                out["gradient"] = table(p.grad for p in model.parameters())
            if case.penalty:
                (case.weight * PENALTIES[case.penalty](convs)).backward()
            optimizer.step()
            out["loss"].append(loss.item())
            out["masks"].append(mask_summary(convs))
            if step + 1 in (1, 10):
                out["weights_%d" % (step + 1)] = table(model.parameters())
                out["buffers_%d" % (step + 1)] = table(running)
    out["loss"], out["masks"] = np.array(out["loss"]), np.array(out["masks"], dtype=np.int64)
    return out


def write_safetensors(path, tensors):
    header, parts, offset = {}, [], 0
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        dtype = {"float64": "F64", "int64": "I64"}[str(array.dtype)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        parts.append(array.tobytes())
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def main():
    torch.set_num_threads(1)
    tensors = {}
    for case in CASES:
        out, again = run(case, False), run(case, True)
        out["growth"] = np.abs(out["loss"] - again["loss"]) / np.abs(out["loss"])
        changed = int((out["masks"][1:] != out["masks"][:-1]).any((1, 2)).sum())
        same = np.array_equal(out["masks"], again["masks"])
        print("%-40s loss %.4f -> %.4f, mask updates that changed something: %d, in reverse order the same masks: %s, "
              "growth at step 1, 10, 24: %.0e %.0e %.0e" % (case.name, out["loss"][0], out["loss"][-1], changed, same,
                                                            *out["growth"][[0, 9, 23]]))
        for name, array in out.items():
            tensors[case.name + "/" + name] = array
    write_safetensors(sys.argv[1] if len(sys.argv) > 1 else "ml/training/parity.safetensors", tensors)


if __name__ == "__main__":
    main()
