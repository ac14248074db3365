"""Writes ml/training/recipes.safetensors: training steps by PyTorch with what a config may add to plain SGD, in float64.

    python3 tools/reference/recipes_values.py [OUTPUT]

It needs torch 2.11 and numpy and uses none of the project's code. The network (a ResNet-8), images, labels, masks and
penalties are those of training_parity.py, next to this file; what is under test is PyTorch's own: torch.optim.AdamW,
CrossEntropyLoss(label_smoothing=), torch.nn.utils.clip_grad_norm_, torch.nn.functional.kl_div,
torch.optim.swa_utils.AveragedModel and update_bn. ml/training/recipes_test.cc trains the same. A case contains

    loss        of each epoch, over its images [EPOCHS]
    weights_1, weights_last   parameters after the first step and the last one, as rows of training_parity.py
    buffers     running means and variances after the last step, likewise
    masks       as training_parity.py's, after the last step
    test        the loss of all images in evaluation after the last step, by the averaged network where there is one
    average, average_buffers   the averaged network's, likewise; its masked weights are zero
    growth      the largest relative difference of a row's number when the images of each batch are in reverse order,
                which only changes how sums are rounded

and adamw_steps contains tensors a and b at first (a_0, b_0), after each of STEPS steps by gradients that hashes give,
and the rates of these steps.
"""

import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

import training_parity as parity
from training_parity import BATCH, IMAGES, PENALTIES, at_start, every_fourth

EPOCHS, DEPTH, STEPS = 2, 8, 6


class Case:
    def __init__(self, name, masks=None, masked_gradient=False, penalty=None, adamw=None, smoothing=0.0, clip=None,
                 teacher=None, decay=None, recalibrate=0, accumulate=1):
        self.name, self.masks, self.masked_gradient, self.penalty = name, masks, masked_gradient, penalty
        self.adamw, self.smoothing, self.clip = adamw, smoothing, clip
        self.teacher = teacher  # temperature, weight
        self.decay, self.recalibrate = decay, recalibrate  # of the weights' average; BatchNorm's batches for it
        self.accumulate = accumulate  # batches of a step

    def optimizer(self, parameters):
        if self.adamw is None:
            return torch.optim.SGD(parameters, 0.05, momentum=0.9, weight_decay=1e-3)
        return torch.optim.AdamW(parameters, **self.adamw)

    def loss(self, model, images, labels):
        logits = model(images)
        hard = functional.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        if self.teacher is None:
            return hard
        temperature, weight = self.teacher
        with torch.no_grad():
            wanted = functional.log_softmax(TEACHER(images) / temperature, 1)
        soft = functional.kl_div(functional.log_softmax(logits / temperature, 1), wanted, reduction="batchmean",
                                 log_target=True)
        return (1 - weight) * hard + weight * temperature**2 * soft


ADAMW = dict(lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)
TEACHER = parity.ResNet(14).double().eval()
parity.initialize(TEACHER)


def every_second(epoch, step):
    return (step + 1) % 2 == 0


def decov(features):
    centred = features - features.mean(0)
    covariance = centred.T @ centred / len(features)
    return ((covariance**2).sum() - (covariance.diagonal() ** 2).sum()) / 2


DYNAMIC = ("filter", "l1", 0.6, every_fourth)
WEIGHTS = ("weight", "l1", 0.9, at_start)
CASES = [
    Case("adamw", adamw=ADAMW),
    Case("adamw_dynamic_cov", DYNAMIC, penalty="cov", adamw=ADAMW),
    Case("adamw_masked", WEIGHTS, True, adamw=ADAMW),
    Case("smooth", smoothing=0.2),
    Case("smooth_dynamic_cov", DYNAMIC, penalty="cov", smoothing=0.2),
    Case("clipped", clip=3.0),
    Case("teacher", teacher=(4, 0.9)),
    Case("teacher_dynamic_cov_smooth", DYNAMIC, penalty="cov", smoothing=0.1, teacher=(2, 0.5)),
    Case("average", decay=0.8),
    Case("average_dynamic_cov", DYNAMIC, penalty="cov", decay=0.8),
    Case("average_masked_adamw_recalibrated", WEIGHTS, True, adamw=ADAMW, decay=0.8, recalibrate=3),
    Case("accumulated", accumulate=3),
    Case("accumulated_dynamic_decov", ("filter", "l1", 0.6, every_second), penalty="decov", accumulate=3),
    Case("accumulated_gradient_average_adamw_clipped", ("filter", "gradient", 0.6, every_second), adamw=ADAMW, clip=1.5,
         decay=0.8, accumulate=3),
    Case("clipped_dynamic_cov", DYNAMIC, penalty="cov", clip=3.0),
    Case("clipped_masked_adamw", WEIGHTS, True, adamw=ADAMW, clip=1.5),
]


def run(case, reverse):
    model = parity.ResNet(DEPTH).double()
    parity.initialize(model)
    convs = [m for m in model.modules() if isinstance(m, parity.Conv)]
    for conv in convs:
        conv.masked_gradient = case.masked_gradient
    running = [b for name, b in model.named_buffers() if "num_batches" not in name]
    optimizer = case.optimizer(model.parameters())
    averaged = case.decay and AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(case.decay))
    images, labels = parity.data()
    features = []  # that the classifier reads
    model.fc.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    out, clipped = {"loss": np.zeros(EPOCHS)}, 0
    for epoch in range(EPOCHS):
        order = parity.order_of(epoch)
        batches = [order[i:i + BATCH] for i in range(0, IMAGES, BATCH)]
        groups = [batches[i:i + case.accumulate] for i in range(0, len(batches), case.accumulate)]
        for step, group in enumerate(groups):
            if case.masks and case.masks[3](epoch, step):
                parity.set_masks(convs, *case.masks[:3])
            optimizer.zero_grad()
            for batch in group:
                if reverse:
                    batch = batch[::-1]
                share = len(batch) / sum(map(len, group))
                loss = case.loss(model, images[batch], labels[batch])
                (loss * share).backward(retain_graph=case.penalty == "decov")
                out["loss"][epoch] += loss.item() * len(batch) / IMAGES
                if case.penalty == "decov":
                    (0.7 * share * decov(features[-1])).backward()
            for conv in convs:
                conv.last_gradient = conv.weight.grad.clone()
            if case.penalty in PENALTIES:
                (0.7 * PENALTIES[case.penalty](convs)).backward()
            if case.clip:
                clipped += int(nn.utils.clip_grad_norm_(model.parameters(), case.clip) > case.clip)
            optimizer.step()
            if averaged:
                averaged.update_parameters(model)
            if epoch + step == 0:
                out["weights_1"] = parity.table(model.parameters())
    out["weights_last"] = parity.table(model.parameters())
    out["buffers"] = parity.table(running)
    out["masks"] = np.array(parity.mask_summary(convs), dtype=np.int64)
    if case.clip and not reverse:
        print("%-28s clipped %d of %d steps" % (case.name, clipped, EPOCHS * len(groups)))
    if averaged:
        model = averaged.module
        for own, conv in zip([m for m in model.modules() if isinstance(m, parity.Conv)], convs):
            own.mask = conv.mask
            if conv.mask is not None:
                own.weight.data *= conv.mask
        if case.recalibrate:
            order = parity.order_of(EPOCHS - 1)
            update_bn([images[order[i * BATCH:(i + 1) * BATCH]] for i in range(case.recalibrate)], model)
        out["average"] = parity.table(model.parameters())
        out["average_buffers"] = parity.table(b for name, b in model.named_buffers() if "num_batches" not in name)
    model.eval()
    with torch.no_grad():
        out["test"] = np.array([functional.cross_entropy(model(images), labels).item()])
    return out


def adamw_steps():
    rates = [0.1, 0.1, 0.05, 0.05, 0.2, 0.01]
    shapes = {"a": (4, 3, 2, 2), "b": (5,)}
    tensors = {name: torch.nn.Parameter(torch.from_numpy(parity.uniform(int(np.prod(shape)), salt)).view(shape))
               for salt, (name, shape) in enumerate(shapes.items(), 2001)}
    optimizer = torch.optim.AdamW(tensors.values(), betas=(0.9, 0.99), eps=1e-8, weight_decay=0.3)
    out = {name + "_0": tensor.detach().numpy().copy() for name, tensor in tensors.items()}
    for step in range(STEPS):
        for salt, tensor in enumerate(tensors.values(), 3001 + 10 * step):
            tensor.grad = torch.from_numpy(parity.uniform(tensor.numel(), salt)).view(tensor.shape)
        optimizer.param_groups[0]["lr"] = rates[step]
        optimizer.step()
        for name, tensor in tensors.items():
            out["%s_%d" % (name, step + 1)] = tensor.detach().numpy().copy()
    out["rates"] = np.array(rates)
    return out


def main():
    torch.set_num_threads(1)
    tensors = {"adamw_steps/" + name: array for name, array in adamw_steps().items()}
    for case in CASES:
        out, again = run(case, False), run(case, True)
        tables = [name for name in out if name.startswith(("weights", "buffers", "average"))]
        # Relative to the tensor's norm, which is a row's second number.
        growth = max((np.abs(out[name] - again[name]) / np.maximum(np.abs(out[name][:, 1:2]), 1e-12)).max()
                     for name in tables)
        out["growth"] = np.array([growth])
        print("%-28s loss %.4f, %.4f, test %.4f, in reverse order the same masks: %s, growth %.0e" % (
            case.name, *out["loss"], out["test"][0], np.array_equal(out["masks"], again["masks"]), growth))
        for name, array in out.items():
            tensors[case.name + "/" + name] = array
    parity.write_safetensors(sys.argv[1] if len(sys.argv) > 1 else "ml/training/recipes.safetensors", tensors)


if __name__ == "__main__":
    main()
