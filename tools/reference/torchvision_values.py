"""Writes ml/models/testing/torchvision_values.h: what torchvision's and other public networks are and compute.

Usage: torchvision_values.py > ml/models/testing/torchvision_values.h    (torch 2.11.0, torchvision 0.26.0, numpy)

Weights and images come from a formula that ml/models/testing/torchvision_formula.cc computes too (see `values`), so
that the file holds only names, shapes and some logits. Everything in float64.
"""

import functools
import hashlib
import math

import numpy as np
import torch
import torchvision
from torch import nn

M64 = (1 << 64) - 1


def fnv1a(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & M64
    return value


def uniform(name, count):
    """`count` numbers in [0, 1): SplitMix64 of the name's hash plus the index, the upper 53 bits."""
    with np.errstate(over="ignore"):
        x = np.uint64(fnv1a(name)) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53


def values(name, shape):
    """The tensor `name`: matrices and kernels within sqrt(6 / fan-in), scales in [0.5, 1.5), shifts in [-0.2, 0.2)."""
    count = int(np.prod(shape, dtype=np.int64))
    u = uniform(name, count)
    if len(shape) > 1:
        flat = (2 * u - 1) * np.sqrt(6 / (count // shape[0]))
    elif name.endswith(".running_var") or name.endswith(".weight"):
        flat = u + 0.5
    else:
        flat = (2 * u - 1) * 0.2
    return torch.from_numpy(flat.reshape(shape))


def tensors(model):
    """(our name, our shape, torchvision's name) of each tensor of the state_dict, in our order.

    They differ in ConvNeXt's blocks: a layer_scale [C, 1, 1] is `layer_scale.weight` [C] here and stands behind the
    layers that it scales, and the linear layers [out, in] are 1x1 convolutions [out, in, 1, 1].
    """
    found, scale = [], None
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith(".layer_scale"):
            if scale is not None:
                found.append(scale)
            scale = (name + ".weight", shape[:1], name)
            continue
        in_block = scale is not None and name.startswith(scale[2][:-len("layer_scale")] + "block.")
        if scale is not None and not in_block:
            found.append(scale)
            scale = None
        found.append((name, shape + (1, 1) if in_block and len(shape) == 2 else shape, name))
    return found


def fill(model):
    state = model.state_dict()
    for name, shape, theirs in tensors(model):
        if not name.endswith("num_batches_tracked"):
            state[theirs] = values(name, shape).reshape(state[theirs].shape)
    model.double().load_state_dict(state, strict=True)
    return model.eval()


def cifar_stem(classes):
    model = torchvision.models.resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    model.maxpool = nn.Identity()
    return model


def mobilenet_cifar(width, classes):
    model = torchvision.models.mobilenet_v2(num_classes=classes, width_mult=width)
    model.features[0][0].stride = (1, 1)
    model.features[2].conv[1][0].stride = (1, 1)
    return model


def densenet_cifar(depth, growth):
    """DenseNet-BC: three blocks, and a stem without BN and pooling."""
    layers = (depth - 4) // 6
    model = torchvision.models.DenseNet(growth, (layers, layers, layers), 2 * growth, num_classes=10)
    model.features.conv0 = nn.Conv2d(3, 2 * growth, 3, 1, 1, bias=False)
    del model.features.norm0, model.features.relu0, model.features.pool0
    return model


def regnet_cifar(classes):
    design = torchvision.models.regnet.BlockParams.from_init_params(depth=22, w_0=24, w_a=24.48, w_m=2.54, group_width=16)
    design.strides[0] = 1
    model = torchvision.models.RegNet(design, num_classes=classes)
    model.stem[0].stride = (1, 1)
    return model


def mobilenet_v3_small_cifar(width, classes):
    blocks, last = torchvision.models.mobilenetv3._mobilenet_v3_conf("mobilenet_v3_small", width_mult=width)
    blocks[0].stride = 1
    model = torchvision.models.MobileNetV3(blocks, last, num_classes=classes)
    model.features[0][0].stride = (1, 1)
    return model


def efficientnet_cifar(classes):
    model = torchvision.models.efficientnet_b0(num_classes=classes)
    model.features[0][0].stride = model.features[2][0].block[1][0].stride = (1, 1)
    return model


def efficientnet_v2_shallow():
    """V2_S with 0.3 times the blocks of each stage, rounded up."""
    blocks, last = torchvision.models.efficientnet._efficientnet_conf("efficientnet_v2_s")
    for stage in blocks:
        stage.num_layers = math.ceil(0.3 * stage.num_layers)
    return torchvision.models.EfficientNet(blocks, 0.2, last_channel=last,
                                           norm_layer=functools.partial(nn.BatchNorm2d, eps=1e-3))


def mnasnet_cifar(classes):
    model = torchvision.models.mnasnet1_0(num_classes=classes)
    model.layers[0].stride = model.layers[8][0].layers[3].stride = (1, 1)
    return model


def shufflenet_cifar(classes):
    model = torchvision.models.shufflenet_v2_x0_5(num_classes=classes)
    model.conv1[0].stride = (1, 1)
    model.maxpool = nn.Identity()
    return model


class Vgg(nn.Module):
    """features.N as one nn.Sequential, a global average, a linear classifier."""

    def __init__(self, groups, conv_bias, last_max_pool):
        super().__init__()
        layers, channels = [], 3
        for i, (convs, out) in enumerate(zip(groups, [64, 128, 256, 512, 512])):
            for _ in range(convs):
                layers += [nn.Conv2d(channels, out, 3, padding=1, bias=conv_bias), nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
            if i < 4 or last_max_pool:
                layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(512, 10)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def entries(model):
    """One line for each tensor of the state_dict."""
    return [f"{name} [{', '.join(map(str, shape))}]" for name, shape, _ in tensors(model)]


def main():
    resnet, vgg, mobilenet = "prunelab.ResNetImageNet", "prunelab.Vgg", "prunelab.MobileNetV2"
    densenet, regnet = "prunelab.DenseNet", "prunelab.RegNet"
    models = torchvision.models
    networks = [
        ("resnet18", resnet, "depth: 18", models.resnet18, 64),
        ("resnet34", resnet, "depth: 34", models.resnet34, 0),
        ("resnet50", resnet, "depth: 50", models.resnet50, 64),
        ("resnet101", resnet, "depth: 101", models.resnet101, 0),
        ("resnet152", resnet, "depth: 152", models.resnet152, 0),
        ("resnet18_cifar", resnet, "depth: 18 stem: CIFAR", lambda: cifar_stem(10), 32),
        ("mobilenet_v2", mobilenet, "", models.mobilenet_v2, 64),
        ("mobilenet_v2_narrow", mobilenet, "width_multiplier: 0.35", lambda: models.mobilenet_v2(width_mult=0.35), 0),
        ("mobilenet_v2_wide", mobilenet, "width_multiplier: 1.4", lambda: models.mobilenet_v2(width_mult=1.4), 0),
        ("mobilenet_v2_cifar", mobilenet, "stem: CIFAR width_multiplier: 0.5", lambda: mobilenet_cifar(0.5, 10), 32),
        ("vgg16", vgg, "depth: 16", lambda: Vgg([2, 2, 3, 3, 3], False, False), 32),
        ("vgg19", vgg, "depth: 19", lambda: Vgg([2, 2, 4, 4, 4], False, False), 0),
        ("vgg13_bias", vgg, "depth: 13 conv_bias: true last_max_pool: true",
         lambda: Vgg([2, 2, 2, 2, 2], True, True), 32),
        ("vgg11_bias", vgg, "depth: 11 conv_bias: true last_max_pool: true",
         lambda: Vgg([1, 1, 2, 2, 2], True, True), 0),
        ("densenet121", densenet, "", models.densenet121, 64),
        ("densenet161", densenet, "depth: 161", models.densenet161, 0),
        ("densenet169", densenet, "depth: 169", models.densenet169, 0),
        ("densenet201", densenet, "depth: 201", models.densenet201, 0),
        ("densenet_bc_40", densenet, "stem: CIFAR depth: 40", lambda: densenet_cifar(40, 12), 32),
        ("densenet_bc_100", densenet, "stem: CIFAR depth: 100", lambda: densenet_cifar(100, 12), 0),
        ("densenet_bc_190", densenet, "stem: CIFAR depth: 190 growth: 40", lambda: densenet_cifar(190, 40), 0),
        ("regnet_cifar", regnet, "stem: CIFAR", lambda: regnet_cifar(10), 32),
    ]
    # The largest, regnet_y_128gf, would need gigabytes; its shapes follow as those of the others do.
    for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf"):
        variant = {"1_6gf": "1600mf", "3_2gf": "3200mf"}.get(size, size).upper()
        for kind, shown in (("x", "800mf"), ("y", "400mf")):
            networks.append((f"regnet_{kind}_{size}", regnet, f"variant: {kind.upper()}_{variant}",
                             getattr(models, f"regnet_{kind}_{size}"), 64 if size == shown else 0))
    v3, efficientnet, convnext = "prunelab.MobileNetV3", "prunelab.EfficientNet", "prunelab.ConvNeXt"
    networks += [
        ("mobilenet_v3_large", v3, "", models.mobilenet_v3_large, 64),
        ("mobilenet_v3_small", v3, "variant: SMALL", models.mobilenet_v3_small, 64),
        ("mobilenet_v3_small_cifar", v3, "variant: SMALL stem: CIFAR width_multiplier: 0.5",
         lambda: mobilenet_v3_small_cifar(0.5, 10), 32),
        ("mobilenet_v3_large_wide", v3, "width_multiplier: 1.4", lambda: models.mobilenet_v3_large(width_mult=1.4), 0),
    ]
    for variant in range(8):
        networks.append((f"efficientnet_b{variant}", efficientnet, f"variant: B{variant}",
                         getattr(models, f"efficientnet_b{variant}"), {0: 64, 5: 32}.get(variant, 0)))
    for size in "sml":
        networks.append((f"efficientnet_v2_{size}", efficientnet, f"variant: V2_{size.upper()}",
                         getattr(models, f"efficientnet_v2_{size}"), 0))
    # With all of its 40 blocks these weights amplify what is rounded until nothing can be compared.
    networks.append(("efficientnet_v2_shallow", efficientnet, "variant: V2_S depth_multiplier: 0.3",
                     efficientnet_v2_shallow, 64))
    networks.append(("efficientnet_b0_cifar", efficientnet, "stem: CIFAR",
                     lambda: efficientnet_cifar(10), 32))
    mnasnet, shufflenet = "prunelab.MnasNet", "prunelab.ShuffleNetV2"
    for width in ("0_5", "0_75", "1_0", "1_3"):
        networks.append((f"mnasnet{width}", mnasnet, f"width_multiplier: {width.replace('_', '.')}",
                         getattr(models, f"mnasnet{width}"), 64 if width == "0_5" else 0))
    networks.append(("mnasnet_cifar", mnasnet, "stem: CIFAR", lambda: mnasnet_cifar(10), 32))
    for width in ("0_5", "1_0", "1_5", "2_0"):
        networks.append((f"shufflenet_v2_x{width}", shufflenet, f"variant: X{width}",
                         getattr(models, f"shufflenet_v2_x{width}"), 64 if width == "1_0" else 0))
    networks.append(("shufflenet_v2_cifar", shufflenet, "stem: CIFAR variant: X0_5", lambda: shufflenet_cifar(10), 32))
    for size in ("tiny", "small", "base", "large"):
        networks.append((f"convnext_{size}", convnext, f"variant: {size.upper()}", getattr(models, f"convnext_{size}"),
                         64 if size == "tiny" else 0))
    versions = [module.__version__.split("+")[0] for module in (torch, torchvision)]
    print("// Made by tools/reference/torchvision_values.py with torch {} and torchvision {}.".format(*versions))
    print("""#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace prunelab {

struct PublicNetwork {
  const char* name;
  const char* type;        // of the family's parameters
  const char* parameters;  // text proto
  int64_t parameter_count;
  const char* state_sha256;  // of the lines "name [shape]\\n" of the state_dict
  int64_t image_size;        // of the logits below; 0: none
  // Of each of two images: sum and norm of the logits, then logits 0, 3, 6 and 9.
  std::vector<std::vector<double>> logits;
};

inline const std::vector<PublicNetwork>& PublicNetworks() {
  static const auto* networks = new std::vector<PublicNetwork>{""")
    lists = {}
    for name, kind, parameters, build, size in networks:
        model = build()
        lines = entries(model)
        digest = hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()
        count = sum(parameter.numel() for parameter in model.parameters())
        rows = []
        if size:
            images = torch.from_numpy((2 * uniform("images", 2 * 3 * size * size) - 1).reshape(2, 3, size, size))
            with torch.no_grad():
                for row in fill(model)(images):
                    rows.append([row.sum().item(), row.norm().item()] + [row[i].item() for i in (0, 3, 6, 9)])
        text = ", ".join("{" + ", ".join(repr(value) for value in row) + "}" for row in rows)
        print(f'      {{"{name}", "{kind}", "{parameters}", {count}, "{digest}", {size}, {{{text}}}}},')
        if name in ("resnet18", "resnet50"):
            lists[name] = lines
    print("""  };
  return *networks;
}
""")
    for name, lines in lists.items():
        title = name.replace("resnet", "ResNet")
        print(f"// torchvision's {name}: the entries of its state_dict, in order.")
        print(f"inline const std::vector<std::string>& {title}State() {{")
        print("  static const auto* lines = new std::vector<std::string>{")
        for line in lines:
            print(f'      "{line}",')
        print("  };\n  return *lines;\n}\n")
    print("}  // namespace prunelab")


main()
