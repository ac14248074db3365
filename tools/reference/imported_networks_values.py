"""Writes ml/onnx/networks: tiny networks of every family as ONNX, with PyTorch's outputs and gradients in float64.

Usage: imported_networks_values.py ml/onnx/networks    (torch 2.11.0, torchvision 0.26.0, onnx, onnxscript, safetensors)

Each network of import_table.py's families, with few channels, is exported twice, for some three times:
NAME.preserve.onnx by the TorchScript exporter with BN kept, NAME.dynamo.onnx by the dynamo exporter, weights in the same
file, and NAME.script.onnx as people call the TorchScript exporter. (The last two fold BN.) What the exporters note for
debugging is taken out. Networks that are there are not made again.

NAME.safetensors has

    images              [N, 3, h, w] float32: tiles, repeated to the network's height and width
    output.K            output K in evaluation mode for these images plus x / (W - 1) * 2 - 1 in column x, float64
    gradient.PARAMETER  [3] float64: in training mode without dropout, the gradient of the mean of output^2 / 2 +
                        output, summed over the outputs: its norm, and its products with sin(1.3 i + 0.4) and
                        cos(0.7 i + 0.1), where i counts the parameter's numbers from 0
"""

import contextlib
import io
import pathlib
import sys
import warnings
import zlib
from functools import partial
from unittest import mock

import onnx
import torch
import torchvision
from import_networks import UNet, Yolo, enliven, export
from safetensors.torch import save_file
from torch import nn
from torchvision.models import convnext, efficientnet, mobilenetv3, regnet, resnet

IMAGES = 3


@contextlib.contextmanager
def channels_divided(by):
    """Convolutions, norms and linear layers that are made inside have 1 / `by` of their channels."""

    def fewer(n, keep=()):
        return n if n in keep else max(1, n // by)

    class Conv2d(nn.Conv2d):
        def __init__(self, channels_in, channels, *arguments, groups=1, **options):
            depthwise = groups == channels_in
            scaled = fewer(channels_in, (3,))
            super().__init__(scaled, fewer(channels), *arguments,
                             groups=scaled if depthwise else fewer(groups, (1,)), **options)

    class BatchNorm2d(nn.BatchNorm2d):
        def __init__(self, channels, *arguments, **options):
            super().__init__(fewer(channels), *arguments, **options)

    class Linear(nn.Linear):
        def __init__(self, features_in, features, *arguments, **options):
            super().__init__(fewer(features_in), fewer(features, (7,)), *arguments, **options)

    with mock.patch.object(nn, "Conv2d", Conv2d), mock.patch.object(nn, "BatchNorm2d", BatchNorm2d), \
            mock.patch.object(nn, "Linear", Linear):
        yield


def divided(by, function, **options):
    with channels_divided(by):
        return function(num_classes=7, **options)


def squeezenet():
    net = divided(8, torchvision.models.squeezenet1_1)
    net.classifier[1] = nn.Conv2d(net.features[12].expand1x1.out_channels * 2, 7, 1)
    return net


def mobilenet_v3():
    block = partial(mobilenetv3.InvertedResidualConfig, width_mult=1.0)
    return mobilenetv3.MobileNetV3(
        [block(8, 3, 8, 8, True, "RE", 2, 1), block(8, 3, 24, 16, False, "HS", 2, 1), block(16, 5, 40, 16, True, "HS", 1, 1)],
        last_channel=24, num_classes=7)


def efficientnet_tiny(v2):
    mb, fused = efficientnet.MBConvConfig, efficientnet.FusedMBConvConfig
    first = [fused(1, 3, 1, 8, 8, 1), fused(2, 3, 2, 8, 8, 1)] if v2 else [mb(1, 3, 1, 8, 8, 1, 1.0, 1.0)]
    return efficientnet.EfficientNet(
        first + [mb(2, 3, 2, 8, 8, 2, 1.0, 1.0), mb(3, 5, 2, 8, 16, 1, 1.0, 1.0)], dropout=0.2, last_channel=24,
        num_classes=7, norm_layer=partial(nn.BatchNorm2d, eps=1e-3) if v2 else None)


def regnet_tiny(squeeze):
    parameters = regnet.BlockParams.from_init_params(
        depth=4, w_0=8, w_a=6.0, w_m=2.0, group_width=4, se_ratio=0.25 if squeeze else None)
    return regnet.RegNet(parameters, num_classes=7, stem_width=4)


def convnext_tiny():
    block = convnext.CNBlockConfig
    return convnext.ConvNeXt([block(8, 16, 1), block(16, None, 2)], num_classes=7)


def mobilenet_v2():
    return divided(8, torchvision.models.MobileNetV2,
                   inverted_residual_setting=[[1, 16, 1, 1], [2, 24, 2, 2], [2, 32, 1, 2]])


def resnet_tiny(by, block, **options):
    return divided(by, partial(resnet.ResNet, block, [1, 1, 1, 1]), **options)


# Name: (network, height and width).
NETWORKS = {
    "alexnet": (lambda: divided(64, torchvision.models.alexnet), 224),
    "convnext": (convnext_tiny, 32),
    "densenet": (lambda: torchvision.models.DenseNet(4, (2, 2), 8, 2, num_classes=7), 32),
    "efficientnet": (lambda: efficientnet_tiny(False), 32),
    "efficientnet_v2": (lambda: efficientnet_tiny(True), 32),
    "googlenet": (lambda: divided(16, torchvision.models.googlenet, aux_logits=False, init_weights=False), 64),
    "inception_v3": (lambda: divided(32, torchvision.models.inception_v3, aux_logits=False, init_weights=False), 75),
    "mnasnet": (lambda: divided(32, partial(torchvision.models.MNASNet, 0.5)), 64),
    "mobilenet_v2": (mobilenet_v2, 32),
    "mobilenet_v3": (mobilenet_v3, 32),
    "regnet_x": (lambda: regnet_tiny(False), 32),
    "regnet_y": (lambda: regnet_tiny(True), 32),
    "resnet_basic": (lambda: resnet_tiny(32, resnet.BasicBlock), 64),
    "resnext": (lambda: resnet_tiny(64, resnet.Bottleneck, groups=128, width_per_group=2), 64),
    "shufflenet_v2": (lambda: torchvision.models.ShuffleNetV2([2, 2, 1], [8, 8, 16, 32, 32], num_classes=7), 32),
    "squeezenet": (squeezenet, 64),
    "unet_bilinear": (lambda: UNet(4, 2, 5, transposed=False), 24),
    "unet_transposed": (lambda: UNet(4, 2, 5), 24),
    "vgg": (lambda: divided(128, torchvision.models.vgg11_bn), 224),
    "yolov8_like": (lambda: Yolo(1, 1, classes=3, bins=2, least=4), 64),
}

FOLDED = ("densenet", "resnet_basic", "shufflenet_v2")


def without_notes(model):
    """Stack traces, paths and inferred shapes are for debugging."""
    model.producer_version, model.doc_string = "", ""
    del model.metadata_props[:]
    graphs = [model.graph] + list(model.functions)
    for graph in graphs:
        graph.doc_string = ""
        for field in ("metadata_props", "value_info"):
            del getattr(graph, field)[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        value.doc_string = ""
        del value.metadata_props[:]
    return model


def as_list(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def gradients(net, images):
    net = net.double().train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, torchvision.ops.StochasticDepth):
            module.p = 0.0
    sum(((y * y / 2 + y).mean() for y in as_list(net(images.double()))), torch.zeros(())).backward()
    result = {}
    for name, parameter in net.named_parameters():
        if parameter.grad is None:
            raise SystemExit(f"{name} has no gradient")
        g = parameter.grad.flatten()
        i = torch.arange(g.numel(), dtype=torch.float64)
        result[name] = torch.stack([g.norm(), g @ torch.sin(1.3 * i + 0.4), g @ torch.cos(0.7 * i + 0.1)])
    return result


def main():
    warnings.filterwarnings("ignore")
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (make, size) in NETWORKS.items():
        if (folder / f"{name}.safetensors").exists():
            continue
        values = {}
        seed = zlib.crc32(name.encode())
        torch.manual_seed(seed)
        net = make()
        generator = torch.Generator().manual_seed(seed)
        calibration = torch.randn(8, 3, size, size, generator=generator)
        enliven(net, calibration, generator)
        # Few different pixels keep the file small where images are large.
        pixels = torch.randn(IMAGES, 3, min(size, 16), min(size, 16), generator=generator)
        tiles = -(-size // pixels.shape[2])
        images = pixels.repeat(1, 1, tiles, tiles)[:, :, :size, :size].contiguous()
        images += torch.linspace(-1, 1, size)
        written = []
        for exporter in ("preserve", "dynamo", "script")[: 3 if name in FOLDED else 2]:
            path = folder / f"{name}.{exporter}.onnx"
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                export(net, images[:1], str(path), exporter)
            model = onnx.load(path)
            for extra in folder.glob(path.name + ".data*"):
                extra.unlink()
            path.write_bytes(without_notes(model).SerializeToString(deterministic=True))
            written.append(path.stat().st_size)
        values["images"] = pixels
        with torch.no_grad():
            outputs = as_list(net.double().eval()(images.double()))
        for k, output in enumerate(outputs):
            values[f"output.{k}"] = output.contiguous()
        for parameter, projections in gradients(net, images).items():
            values[f"gradient.{parameter}"] = projections
        alive = min(((y[0] - y[1]).abs().max() / y.abs().max()).item() for y in outputs)
        print(f"{name}: {sum(p.numel() for p in net.parameters())} parameters, {written} bytes, images differ {alive:.4f}",
              flush=True)
        versions = [f"{m.__name__} {m.__version__.split('+')[0]}" for m in (torch, torchvision)]
        save_file(values, folder / f"{name}.safetensors", {"made_by": ", ".join(versions)})


if __name__ == "__main__":
    main()
