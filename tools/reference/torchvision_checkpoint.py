"""Moves weights between torchvision and prunelab, to check by hand that both agree. Needs torchvision and safetensors.

    torchvision_checkpoint.py save resnet18 FOLDER

writes FOLDER/resnet18.safetensors (a state_dict with random weights), FOLDER/images.safetensors (8 images, `images`)
and FOLDER/wanted.safetensors (`logits` of torchvision's model for them). Then

    bazel run //tools:evaluate -- --network='[type.googleapis.com/prunelab.ResNetImageNet] { depth: 18 }' \
        --checkpoint=FOLDER/resnet18.safetensors --input=FOLDER/images.safetensors --output=FOLDER/logits.safetensors
    torchvision_checkpoint.py compare FOLDER/logits.safetensors FOLDER/wanted.safetensors

prints the largest difference and fails above 1e-4 (of the largest logit). The other way,

    torchvision_checkpoint.py load CHECKPOINT resnet18 [--cifar_stem] [--images=FILE --output=FILE]

loads what prunelab saved (masks are multiplied into their weights) with strict=True and, if asked, writes the logits.
"""

import argparse
import os
import sys

import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn


def build(name, classes, cifar_stem):
    model = getattr(torchvision.models, name)(num_classes=classes)
    if cifar_stem:
        channels = model.conv1.out_channels
        model.conv1 = nn.Conv2d(model.conv1.in_channels, channels, 3, 1, 1, bias=False)
        model.maxpool = nn.Identity()
    return model.eval()


def save(arguments):
    torch.manual_seed(1)
    model = build(arguments.name, 1000, False)
    for name, buffer in model.named_buffers():  # running statistics that are not 0 and 1
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    images = torch.randn(8, 3, arguments.image_size, arguments.image_size)
    with torch.no_grad():
        logits = model(images)
    arguments.folder = os.path.expanduser(arguments.folder)
    os.makedirs(arguments.folder, exist_ok=True)
    save_file(model.state_dict(), os.path.join(arguments.folder, arguments.name + ".safetensors"))
    save_file({"images": images}, os.path.join(arguments.folder, "images.safetensors"))
    save_file({"logits": logits}, os.path.join(arguments.folder, "wanted.safetensors"))


def compare(arguments):
    a, b = (load_file(path)["logits"] for path in (arguments.first, arguments.second))
    difference = ((a - b).abs().max() / b.abs().max()).item()
    print(f"{tuple(a.shape)}: largest difference {difference:.2e} of the largest logit")
    return 0 if a.shape == b.shape and difference <= 1e-4 else 1


def load(arguments):
    state = load_file(arguments.checkpoint)
    masks = [name for name in state if name.endswith(".mask")]
    for name in masks:
        state[name[:-len("mask")] + "weight"] *= state.pop(name)
    model = build(arguments.name, state["fc.weight"].shape[0], arguments.cifar_stem)
    model.load_state_dict(state, strict=True)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{arguments.name}: strict=True accepts {len(state)} tensors, {count} parameters; {len(masks)} masks applied")
    if arguments.images:
        with torch.no_grad():
            save_file({"logits": model(load_file(arguments.images)["images"])}, arguments.output)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("save")
    command.add_argument("name")
    command.add_argument("folder")
    command.add_argument("--image_size", type=int, default=64)
    command.set_defaults(run=save)
    command = commands.add_parser("compare")
    command.add_argument("first")
    command.add_argument("second")
    command.set_defaults(run=compare)
    command = commands.add_parser("load")
    command.add_argument("checkpoint")
    command.add_argument("name")
    command.add_argument("--cifar_stem", action="store_true")
    command.add_argument("--images")
    command.add_argument("--output")
    command.set_defaults(run=load)
    arguments = parser.parse_args()
    return arguments.run(arguments)


sys.exit(main())
