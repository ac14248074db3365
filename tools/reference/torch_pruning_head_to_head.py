"""Torch-Pruning's half of experiments/configs/peers_cifar10.textproto: dense networks in, smaller ones out.

Usage: torch_pruning_head_to_head.py --dense=runs/peers_cifar10/dense --batches=runs/peers_batches
           --output=runs/peers_torch_pruning [--seeds=1-10] [--budgets=0.5,0.4,0.25] [--methods=...]
       (torch 2.11.0, torch-pruning 1.6.0, safetensors, onnx)

For each seed it reads the dense network of that seed, <dense>/<seed>/last.safetensors, prunes it by Torch-Pruning to each
budget (a share of the multiply-accumulates), and writes <output>/<method>_<budget>/<seed>.onnx with its batch norms, so
that this project fine-tunes it on the same images, in the same order and augmentation, and for the same steps as its own
(initial_weights: "<output>/<method>_<budget>/{seed}.onnx"). What is there already is not made again.

A method's name may end with how its channels are compared: of all layers together (nothing, as in the commands of
Torch-Pruning's benchmark), of each layer by itself at one ratio (_local, Torch-Pruning's default), or of layers of one
kind together (_isomorphic).

group_norm prunes at once. bn_scale and growing_reg learn to be sparse first, as in Torch-Pruning's own benchmark
(benchmarks/main.py: `pruner.update_regularizer()` once an epoch, `pruner.regularize(model)` in each step): for all of the
epochs in <batches>/<seed>/epoch_*.safetensors, which //tools:export_batches wrote, by SGD at the fine-tuning's learning
rate. These steps come on top of the fine-tuning that all have in common.
"""

import argparse
import json
import pathlib
import sys
import time

import torch
import torch_pruning as tp
from safetensors.torch import load_file
from torch import nn

from torch_pruning_counts import ResNetCifar, macs

STEPS = 400  # of iterative pruning: the budget is met about as closely as one channel allows
TOLERANCE = 0.02


def loaded(weights, arguments):
    model = ResNetCifar(arguments.depth)
    model.load_state_dict(weights)
    return model.eval()


def pruner_of(method, model, images):
    """The pruner as Torch-Pruning's benchmark configures it; only the classifier's outputs stay."""
    method, _, scope = method.partition("@")
    options = dict(global_pruning=scope != "local", isomorphic=scope == "isomorphic", iterative_steps=STEPS,
                   pruning_ratio=1.0, max_pruning_ratio=1.0, ignored_layers=[model.fc])
    if method == "group_norm":
        return tp.pruner.GroupNormPruner(model, images, importance=tp.importance.GroupMagnitudeImportance(p=2), **options)
    if method == "bn_scale":
        return tp.pruner.BNScalePruner(model, images, importance=tp.importance.BNScaleImportance(), reg=1e-4, **options)
    return tp.pruner.GrowingRegPruner(model, images, importance=tp.importance.GroupMagnitudeImportance(p=2),
                                      reg=1e-4, delta_reg=1e-4, **options)


def with_scope(method):
    """"group_norm_local" as "group_norm@local"."""
    for scope in ("local", "isomorphic"):
        if method.endswith("_" + scope):
            return method[:-len(scope) - 1] + "@" + scope
    return method


def learn_sparsity(model, pruner, folder, arguments):
    """Trains on the exported epochs with the pruner's regularizer; returns the epochs."""
    files = sorted(folder.glob("epoch_*.safetensors"))
    if not files:
        sys.exit("%s: has no epoch_*.safetensors; write them with //tools:export_batches" % folder)
    optimizer = torch.optim.SGD(model.parameters(), lr=arguments.learning_rate, momentum=0.9,
                                weight_decay=arguments.weight_decay)
    loss = nn.CrossEntropyLoss()
    model.train()
    for path in files:
        epoch = load_file(path)
        pruner.update_regularizer()
        for images, labels in zip(epoch["images"].split(arguments.batch_size), epoch["labels"].split(arguments.batch_size)):
            optimizer.zero_grad()
            loss(model(images), labels).backward()
            pruner.regularize(model)
            optimizer.step()
    model.eval()
    return len(files)


def prune(model, pruner, images, share):
    """Prunes until at most this share of the multiply-accumulates is left; within a step, group by group."""
    dense = macs(model, images)
    for _ in range(STEPS):
        for group in pruner.step(interactive=True):
            group.prune()
            if macs(model, images) <= share * dense:
                return macs(model, images) / dense
    return macs(model, images) / dense


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dense", type=pathlib.Path, required=True)
    parser.add_argument("--batches", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", default="1-10")
    parser.add_argument("--budgets", default="0.5,0.4,0.25")
    parser.add_argument("--methods", default="group_norm,bn_scale,growing_reg")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--image_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=0.02)
    parser.add_argument("--weight_decay", type=float, default=5e-4)
    parser.add_argument("--batch_size", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.zeros(1, 3, arguments.image_size, arguments.image_size)
    first, _, last = arguments.seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        weights = load_file(arguments.dense / str(seed) / "last.safetensors")
        weights = {name: value for name, value in weights.items() if not name.endswith(".mask")}
        for method in arguments.methods.split(","):
            learnt, epochs = None, 0
            for budget in arguments.budgets.split(","):
                path = arguments.output / ("%s_%s" % (method, budget)) / ("%d.onnx" % seed)
                if path.exists():
                    continue
                start = time.monotonic()
                if learnt is None:
                    learnt, epochs = weights, 0
                    if not method.startswith("group_norm"):  # once for all budgets
                        model = loaded(weights, arguments)
                        pruner = pruner_of(with_scope(method), model, images)
                        epochs = learn_sparsity(model, pruner, arguments.batches / str(seed), arguments)
                        learnt = {name: value.clone() for name, value in model.state_dict().items()}
                model = loaded(learnt, arguments)
                share = prune(model, pruner_of(with_scope(method), model, images), images, float(budget))
                if abs(share / float(budget) - 1) > TOLERANCE:
                    print("%s: %.4f of the MACs are left, and %s were asked for" % (path, share, budget), file=sys.stderr)
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(".partial")
                torch.onnx.export(model, (images,), str(partial), dynamo=False, opset_version=17, input_names=["images"],
                                  output_names=["logits"], dynamic_axes={"images": {0: "batch"}},
                                  training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
                partial.rename(path)
                print(json.dumps({"method": method, "budget": float(budget), "seed": seed, "share": share,
                                  "sparsity_epochs": epochs, "seconds": round(time.monotonic() - start, 1)}), flush=True)


if __name__ == "__main__":
    main()
