"""Writes ml/pruning/testing/probe_reference.safetensors: scores and masks of strategies that look at the whole network.

    python3 tools/reference/probe_strategies.py ml/pruning/testing/probe_reference.safetensors

It needs torch, numpy and safetensors. The file has a small residual network in float64 with random tensors (under
PyTorch's names), images and labels, and what PyTorch's autograd, its nuclear norm and numpy compute from them, each by
the method's definition:

  snip.<conv>         |dL/dc| / sum |dL/dc|, an indicator c for each weight of all convolutions, evaluation mode, mean
                      loss over all images
  snip_filter.<conv>  the same with an indicator for each filter
  grasp.<conv>        -w (H g) by the whole Hessian: first and second half of the images, batch statistics, temperature
                      200
  synflow.<conv>      |dR/dw w| of the network of absolute values, an image of ones, evaluation mode
  synflow_mask.<conv> after 100 rounds to a rate of 0.9, in each int(n r) + 1 masked
  chip.<conv>         mean over the images of |A|_* - |A with the channel's row zeroed|_*, A the maps after the ReLU
  hrank.<conv>        mean over the images of the rank of the filter's map after the ReLU, with float32's tolerance
  slimming.<conv>     |gamma| > sorted[int(n 0.5)]
  thinet.x            contributions of conv3's input channels to samples k = 0..79 (image k % 12, position 5 k % 16,
                      filter 3 k % 7); thinet.kept with 4 of 8 removed, by trying all; thinet.scale by least squares
"""

import sys

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F

CONVS = {  # name: (out, in, kernel, stride, padding)
    "conv1": (6, 3, 3, 1, 1),
    "conv2": (8, 6, 3, 2, 1),
    "conv3": (7, 8, 3, 1, 1),
    "conv4": (6, 7, 1, 1, 0),
    "shortcut": (6, 6, 1, 2, 0),
}
BATCH_NORMS = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3", "conv4": "bn4", "shortcut": "bn5"}
MAPS = {"conv1": "relu1", "conv2": "relu2", "conv3": "relu3", "conv4": "relu4", "shortcut": "relu4"}
IMAGES, CLASSES = 12, 4


def tensors():
    """Random parameters and buffers by PyTorch's names."""
    generator = torch.Generator().manual_seed(20)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    result = {}
    for name, (out, channels, kernel, _, _) in CONVS.items():
        result[f"{name}.weight"] = normal(out, channels, kernel, kernel) * (2 / (channels * kernel * kernel)) ** 0.5
        batch_norm = BATCH_NORMS[name]
        result[f"{batch_norm}.weight"] = 1 + 0.3 * normal(out)
        result[f"{batch_norm}.bias"] = 0.3 * normal(out)
        result[f"{batch_norm}.running_mean"] = 0.2 * normal(out)
        result[f"{batch_norm}.running_var"] = torch.exp(0.3 * normal(out))
        result[f"{batch_norm}.num_batches_tracked"] = torch.tensor(7)
    result["fc.weight"] = 0.5 * normal(CLASSES, 6)
    result["fc.bias"] = 0.1 * normal(CLASSES)
    return result


def forward(t, images, training=False):
    """Logits, and the outputs of the ReLUs."""
    maps = {}

    def unit(x, name):
        _, _, _, stride, padding = CONVS[name]
        y = F.conv2d(x, t[f"{name}.weight"], stride=stride, padding=padding)
        b = BATCH_NORMS[name]
        mean, var = t[f"{b}.running_mean"], t[f"{b}.running_var"]
        if training:
            mean, var = mean.clone(), var.clone()
        return F.batch_norm(y, mean, var, t[f"{b}.weight"], t[f"{b}.bias"], training, 0.1, 1e-5)

    maps["relu1"] = F.relu(unit(images, "conv1"))
    maps["relu2"] = F.relu(unit(maps["relu1"], "conv2"))
    maps["relu3"] = F.relu(unit(maps["relu2"], "conv3"))
    maps["relu4"] = F.relu(unit(maps["relu3"], "conv4") + unit(maps["relu1"], "shortcut"))
    return F.linear(maps["relu4"].mean((2, 3)), t["fc.weight"], t["fc.bias"]), maps


def with_leaves(t, names):
    """A copy of the tensors, in which the named ones are leaves."""
    copy = dict(t)
    for name in names:
        copy[name] = t[name].clone().requires_grad_(True)
    return copy, [copy[name] for name in names]


def snip(t, images, labels):
    """Scores of weights and of filters: derivatives by indicators c = 1 that multiply them."""
    scores = []
    for per_filter in (False, True):
        indicators = {
            c: torch.ones_like(t[f"{c}.weight"][:, :1, :1, :1] if per_filter else t[f"{c}.weight"]) for c in CONVS
        }
        network = dict(t)
        for c, indicator in indicators.items():
            network[f"{c}.weight"] = t[f"{c}.weight"] * indicator.requires_grad_(True)
        loss = F.cross_entropy(forward(network, images)[0], labels)
        effects = [g.abs() for g in torch.autograd.grad(loss, list(indicators.values()))]
        total = sum(e.sum() for e in effects)
        scores.append({c: e / total for c, e in zip(CONVS, effects)})
    return scores


def grasp(t, images, labels):
    """-w (H g) with the whole Hessian of all weights, row by row; the halves' gradients and Hessians are summed."""
    names = [f"{c}.weight" for c in CONVS] + ["fc.weight"]
    sizes = [t[name].numel() for name in names]
    g, hessian_g = 0, 0
    w = torch.cat([t[name].reshape(-1) for name in names])

    def loss(flat, half):
        network = dict(t)
        for name, part in zip(names, flat.split(sizes)):
            network[name] = part.view_as(t[name])
        return F.cross_entropy(forward(network, images[half], training=True)[0] / 200, labels[half])

    halves = [slice(0, IMAGES // 2), slice(IMAGES // 2, IMAGES)]
    for half in halves:
        g = g + torch.autograd.functional.jacobian(lambda flat, h=half: loss(flat, h), w)
    for half in halves:
        hessian_g = hessian_g + torch.autograd.functional.hessian(lambda flat, h=half: loss(flat, h), w) @ g
    return {c: part.view_as(t[f"{c}.weight"]) for c, part in zip(CONVS, (-w * hessian_g).split(sizes))}


def synflow(t, masks):
    """|dR/dw w|."""
    linear = {name: value.abs() for name, value in t.items()}
    for c in CONVS:
        linear[f"{c}.weight"] = linear[f"{c}.weight"] * masks[c]
    network, weights = with_leaves(linear, [f"{c}.weight" for c in CONVS])
    flow = forward(network, torch.ones(1, 3, 8, 8, dtype=torch.float64))[0].sum()
    return {c: (g * w).abs().detach() for c, w, g in zip(CONVS, weights, torch.autograd.grad(flow, weights))}


def synflow_masks(t, rate, rounds):
    """Masks after all rounds."""
    masks = {c: torch.ones_like(t[f"{c}.weight"]) for c in CONVS}
    for k in range(1, rounds + 1):
        scores = {c: s.numpy() for c, s in synflow(t, masks).items()}
        everything = np.sort(np.concatenate([s.reshape(-1) for s in scores.values()]))
        asked = rate if k == rounds else 1 - (1 - rate) ** (k / rounds)
        threshold = everything[int(len(everything) * asked)]
        masks = {c: torch.from_numpy((s > threshold).astype(np.float64)) for c, s in scores.items()}
    return masks


def chip(t, images):
    """Mean independence of each channel."""
    maps = forward(t, images)[1]
    result = {}
    for c in CONVS:
        rows = maps[MAPS[c]].flatten(2)
        whole = torch.linalg.matrix_norm(rows, "nuc")
        independence = []
        for channel in range(rows.shape[1]):
            without = rows.clone()
            without[:, channel] = 0
            independence.append((whole - torch.linalg.matrix_norm(without, "nuc")).mean())
        result[c] = torch.stack(independence)
    return result


def hrank(t, images):
    """Mean rank of each filter's map."""
    maps = forward(t, images)[1]
    ranks = {}
    for c in CONVS:
        height, width = maps[MAPS[c]].shape[2:]
        tolerance = max(height, width) * torch.finfo(torch.float32).eps
        ranks[c] = torch.linalg.matrix_rank(maps[MAPS[c]], rtol=tolerance).double().mean(0)
    return ranks


def thinet(t, images):
    """Contributions, kept channels and scale."""
    features = F.pad(forward(t, images)[1]["relu2"], (1, 1, 1, 1)).numpy()
    weight = t["conv3.weight"].numpy()
    rows = []
    for k in range(80):
        image, position, out = k % 12, 5 * k % 16, 3 * k % 7
        y, x = divmod(position, 4)
        rows.append((features[image, :, y : y + 3, x : x + 3] * weight[out]).sum((1, 2)))
    x = np.stack(rows)
    given_up = []
    while len(given_up) < 4:
        left = [c for c in range(8) if c not in given_up]
        given_up.append(min(left, key=lambda c: np.linalg.norm(x[:, given_up + [c]].sum(1))))
    kept = [c for c in range(8) if c not in given_up]
    scale = np.ones(8)
    scale[kept] = np.linalg.lstsq(x[:, kept], x.sum(1), rcond=None)[0]
    mask = np.zeros(8)
    mask[kept] = 1
    return x, mask, scale


def main():
    """Writes the file named by the only argument."""
    t = tensors()
    generator = torch.Generator().manual_seed(21)
    images = torch.randn(IMAGES, 3, 8, 8, generator=generator, dtype=torch.float32)
    labels = torch.arange(IMAGES) % CLASSES
    result = dict(t, images=images, labels=labels)
    images = images.double()
    single, filters = snip(t, images, labels)
    ones = {c: torch.ones_like(t[f"{c}.weight"]) for c in CONVS}
    per_conv = {
        "snip": single,
        "snip_filter": filters,
        "grasp": grasp(t, images, labels),
        "synflow": synflow(t, ones),
        "synflow_mask": synflow_masks(t, 0.9, 100),
        "chip": chip(t, images),
        "hrank": hrank(t, images),
    }
    scales = {c: t[f"{BATCH_NORMS[c]}.weight"].abs().numpy() for c in CONVS}
    threshold = np.sort(np.concatenate(list(scales.values())))[int(sum(map(len, scales.values())) * 0.5)]
    per_conv["slimming"] = {c: torch.from_numpy((s > threshold).astype(np.float64)) for c, s in scales.items()}
    for method, values in per_conv.items():
        for c, value in values.items():
            result[f"{method}.{c}"] = value
    for name, value in zip(["x", "kept", "scale"], thinet(t, images)):
        result[f"thinet.{name}"] = torch.from_numpy(value)
    safetensors.torch.save_file({name: value.contiguous() for name, value in result.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
