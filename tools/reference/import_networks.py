"""The networks of import_table.py: torchvision's classifiers, and detectors and segmenters as people write them.

`build(name)` gives a network in evaluation mode with seeded random weights whose outputs depend on its input: with
fresh weights most networks of depth 50 and more give outputs that are zero or constant, and layer scales of 1e-6 hide
whole branches. So every norm has random weights, biases and statistics, near those of its input.
"""

import re
import zlib

import torch
import torchvision
from torch import nn
from torch.nn import functional


class ConvNorm(nn.Sequential):
    def __init__(self, channels_in, channels, kernel=1, stride=1, activation=nn.SiLU):
        super().__init__(
            nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels),
            activation(),
        )


class Bottleneck(nn.Module):
    def __init__(self, channels, shortcut):
        super().__init__()
        self.cv1 = ConvNorm(channels, channels, 3)
        self.cv2 = ConvNorm(channels, channels, 3)
        self.add = shortcut

    def forward(self, x):
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C2f(nn.Module):
    """Half of the channels goes through each bottleneck, and every stage's result is concatenated."""

    def __init__(self, channels_in, channels, blocks=1, shortcut=False):
        super().__init__()
        self.half = channels // 2
        self.cv1 = ConvNorm(channels_in, 2 * self.half)
        self.cv2 = ConvNorm((2 + blocks) * self.half, channels)
        self.m = nn.ModuleList(Bottleneck(self.half, shortcut) for _ in range(blocks))

    def forward(self, x):
        parts = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            parts.append(block(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class SppFast(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.cv1 = ConvNorm(channels, channels // 2)
        self.cv2 = ConvNorm(2 * channels, channels)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.m(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class Yolo(nn.Module):
    """The layers of YOLOv8: C2f blocks, spatial pyramid pooling, a path up and a path down, and three heads, each of
    which gives a map of 4 * 16 numbers for the box and one for each class."""

    def __init__(self, width=16, depth=1, classes=80, bins=16, least=16):
        super().__init__()
        w = [width * 2**k for k in range(5)]
        self.stem = ConvNorm(3, w[0], 3, 2)
        self.down = nn.ModuleList(ConvNorm(w[k], w[k + 1], 3, 2) for k in range(4))
        self.blocks = nn.ModuleList(C2f(w[k + 1], w[k + 1], depth * (1 + (k in (1, 2))), True) for k in range(4))
        self.sppf = SppFast(w[4])
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.up4 = C2f(w[4] + w[3], w[3], depth)
        self.up3 = C2f(w[3] + w[2], w[2], depth)
        self.down3 = ConvNorm(w[2], w[2], 3, 2)
        self.down4 = C2f(w[2] + w[3], w[3], depth)
        self.down5 = ConvNorm(w[3], w[3], 3, 2)
        self.last = C2f(w[3] + w[4], w[4], depth)
        box, score = max(least, w[2] // 4, 4 * bins), max(w[2], min(classes, 100))
        self.boxes = nn.ModuleList(self.head(c, box, 4 * bins) for c in w[2:])
        self.scores = nn.ModuleList(self.head(c, score, classes) for c in w[2:])

    @staticmethod
    def head(channels_in, channels, out):
        return nn.Sequential(
            ConvNorm(channels_in, channels, 3), ConvNorm(channels, channels, 3), nn.Conv2d(channels, out, 1)
        )

    def forward(self, x):
        x, maps = self.stem(x), []
        for down, block in zip(self.down, self.blocks):
            x = block(down(x))
            maps.append(x)
        p3, p4, p5 = maps[1], maps[2], self.sppf(maps[3])
        q4 = self.up4(torch.cat([self.up(p5), p4], 1))
        q3 = self.up3(torch.cat([self.up(q4), p3], 1))
        q4 = self.down4(torch.cat([self.down3(q3), q4], 1))
        q5 = self.last(torch.cat([self.down5(q4), p5], 1))
        return tuple(torch.cat([b(q), s(q)], 1) for q, b, s in zip((q3, q4, q5), self.boxes, self.scores))


class UNet(nn.Module):
    """A U-Net: `transposed` goes up by ConvTranspose2d, otherwise by bilinear interpolation and a 1x1 convolution."""

    def __init__(self, width=16, levels=4, classes=21, transposed=True):
        super().__init__()
        w = [width * 2**k for k in range(levels + 1)]
        self.down = nn.ModuleList(self.two_convolutions(3 if k == 0 else w[k - 1], w[k]) for k in range(levels + 1))
        self.transposed = transposed
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(w[k + 1], w[k], 2, 2) if transposed else nn.Conv2d(w[k + 1], w[k], 1)
            for k in range(levels)
        )
        self.merge = nn.ModuleList(self.two_convolutions(2 * w[k], w[k]) for k in range(levels))
        self.head = nn.Conv2d(w[0], classes, 1)

    @staticmethod
    def two_convolutions(channels_in, channels):
        return nn.Sequential(
            ConvNorm(channels_in, channels, 3, activation=nn.ReLU), ConvNorm(channels, channels, 3, activation=nn.ReLU)
        )

    def forward(self, x):
        maps = []
        for k, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if k else x)
            maps.append(x)
        for k in reversed(range(len(self.up))):
            if not self.transposed:
                x = functional.interpolate(x, size=maps[k].shape[2:], mode="bilinear", align_corners=False)
            x = self.merge[k](torch.cat([self.up[k](x), maps[k]], 1))
        return self.head(x)


class Segmenter(nn.Module):
    """A network of torchvision.models.segmentation, whose result is a dictionary, as one that gives the map."""

    def __init__(self, name):
        super().__init__()
        # aux_loss=False: the auxiliary head is for training only.
        self.net = getattr(torchvision.models.segmentation, name)(
            weights=None, weights_backbone=None, aux_loss=False, num_classes=21
        )

    def forward(self, x):
        return self.net(x)["out"]


# Not classifiers of torchvision.
OTHERS = {
    "yolov8_like_n": lambda: Yolo(16, 1),
    "yolov8_like_s": lambda: Yolo(32, 1),
    "unet_transposed": lambda: UNet(16, 4),
    "unet_bilinear": lambda: UNet(16, 4, transposed=False),
    "fcn_resnet50": lambda: Segmenter("fcn_resnet50"),
    "deeplabv3_mobilenet_v3_large": lambda: Segmenter("deeplabv3_mobilenet_v3_large"),
    "lraspp_mobilenet_v3_large": lambda: nn.Sequential(Lraspp()),
}


class Lraspp(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=21
        )

    def forward(self, x):
        return self.net(x)["out"]


OTHERS["lraspp_mobilenet_v3_large"] = Lraspp


def names():
    return torchvision.models.list_models(module=torchvision.models) + list(OTHERS)


def image_size(name):
    """The height and width that the table uses: the smallest that a network or its export allows, of 64 and more."""
    # Their pools to 7x7 (6x6) are exported only where they divide the map, and the first Linear is for 7x7 maps.
    if re.match("vgg|alexnet|maxvit", name):
        return 224
    if name == "inception_v3":
        return 96
    if name == "vit_h_14":
        return 56
    return 64


def module(name):
    if name in OTHERS:
        return OTHERS[name]()
    options = {"weights": None}
    if name in ("googlenet", "inception_v3"):  # their auxiliary heads are for training only
        options.update(aux_logits=False, init_weights=False)
    if name.startswith("vit"):
        options["image_size"] = image_size(name)
    if name == "maxvit_t":
        options["input_size"] = (224, 224)
    return getattr(torchvision.models, name)(**options)


def enliven(net, images, generator):
    """Random weights and statistics of all norms, and layer scales, such that values of every layer vary."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]

    def uniform(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)) and m.weight is not None:
                uniform(m.weight, 0.6, 1.4)
                uniform(m.bias, -0.3, 0.3)
        # Where each residual branch weighs as much as what it is added to, a hundred random layers amplify rounding: of
        # ResNet-152 PyTorch's own float32 is 3e-4 off its float64. In trained networks branches weigh less.
        for m in net.modules():
            if isinstance(m, torchvision.models.resnet.Bottleneck):
                uniform(m.bn3.weight, 0.1, 0.3)
            elif isinstance(m, torchvision.models.resnet.BasicBlock):
                uniform(m.bn2.weight, 0.1, 0.3)
        for parameter_name, parameter in net.named_parameters():
            if parameter_name.endswith("layer_scale"):
                uniform(parameter, 0.3, 0.7)
            elif parameter_name.endswith("bias"):
                uniform(parameter, -0.1, 0.1)
            elif parameter.dim() == 2 and parameter.std() < 0.02:  # classifiers that begin near zero
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5)
        net.eval()
        momenta = [m.momentum for m in norms]
        for m in norms:  # the statistics are those of the images
            m.momentum = 1.0
            m.train()
        if norms:
            net(images)
        for m, momentum in zip(norms, momenta):
            m.momentum = momentum
            m.eval()
            deviation = m.running_var.sqrt()
            noise = torch.empty_like(deviation)
            uniform(noise, -0.2, 0.2)
            m.running_mean.add_(noise * deviation)
            uniform(noise, 0.7, 1.4)
            m.running_var.mul_(noise).clamp_(min=1e-3)
            m.num_batches_tracked.fill_(1)
    return net


def images_for(name, count):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + 1)
    size = image_size(name)
    return torch.randn(count, 3, size, size, generator=generator)


def build(name):
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    net = module(name)
    return enliven(net, images_for(name, 8), torch.Generator().manual_seed(seed))


def outputs(net, images):
    """What the network returns, as a list."""
    with torch.no_grad():
        result = net(images)
    return list(result) if isinstance(result, (tuple, list)) else [result]


def export(net, images, path, exporter):
    """As people call it: no options but the opset. `preserve` keeps BN apart from the convolutions."""
    if exporter == "dynamo":
        torch.onnx.export(net, (images,), path, dynamo=True, input_names=["images"], verbose=False)
        return
    options = {}
    if exporter == "preserve":
        options = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    if exporter == "dynamic":
        options = {"dynamic_axes": {"images": {0: "batch"}}}
    torch.onnx.export(net, (images,), path, dynamo=False, input_names=["images"], opset_version=17, **options)
