"""Writes ml/training/ranks.safetensors: trainings by PyTorch's DistributedDataParallel, two processes with Gloo, in float64.

    python3 tools/reference/ranks_values.py [OUTPUT]

It needs torch 2.11 and numpy and uses none of the project's code. The network (a ResNet-8), images, labels, masks and
penalties are those of training_parity.py, next to this file; each process has half of every batch and normalizes it by its
own statistics. ml/training/ranks_test.cc trains the same. A case contains

    loss           of each epoch, over the images of both processes [EPOCHS]
    weights_last   parameters after the last step, as rows of training_parity.py
    buffers        running means and variances after the last step, likewise: the mean of the two processes'; in the case
                   "recalibrated" those of three batches of the last epoch alone
    masks          as training_parity.py's, after the last step
"""

import os
import socket
import sys

import numpy as np
import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import training_parity as parity
from recipes_values import decov
from training_parity import BATCH, IMAGES, PENALTIES, every_fourth

EPOCHS, DEPTH, RANKS = 3, 8, 2
CASES = {"plain": (None, None), "dynamic_cov": (("filter", "l1", 0.6, every_fourth), "cov"), "decov": (None, "decov"),
         "recalibrated": (None, None)}


def run(masks, penalty, recalibrated, rank):
    model = parity.ResNet(DEPTH).double()
    parity.initialize(model)
    convs = [m for m in model.modules() if isinstance(m, parity.Conv)]
    running = [b for name, b in model.named_buffers() if "num_batches" not in name]
    # Running statistics are not read in training, so that leaving each process its own changes nothing else.
    parallel = DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
    images, labels = parity.data()
    features = []  # that the classifier reads
    model.fc.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    losses = np.zeros(EPOCHS)
    for epoch in range(EPOCHS):
        order = parity.order_of(epoch)
        for step, begin in enumerate(range(0, IMAGES, BATCH)):
            batch = order[begin:begin + BATCH]
            assert len(batch) % RANKS == 0
            share = batch[len(batch) * rank // RANKS:len(batch) * (rank + 1) // RANKS]
            if masks and masks[3](epoch, step):
                parity.set_masks(convs, *masks[:3])
            features.clear()
            loss = functional.cross_entropy(parallel(images[share]), labels[share])
            optimizer.zero_grad()
            # A penalty on activations is of each process's own images.
            (loss + 0.7 * decov(features[0]) if penalty == "decov" else loss).backward()
            if penalty and penalty != "decov":
                (0.7 * PENALTIES[penalty](convs)).backward()
            optimizer.step()
            losses[epoch] += loss.item() * len(share) / IMAGES
    if recalibrated:
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches
        for begin in range(0, 3 * BATCH, BATCH):
            batch = order[begin:begin + BATCH]
            with torch.no_grad():
                model(images[batch[len(batch) * rank // RANKS:len(batch) * (rank + 1) // RANKS]])
    sums = [torch.from_numpy(losses)] + running
    for tensor in sums:
        distributed.all_reduce(tensor)
    return {"loss": losses, "weights_last": parity.table(model.parameters()),
            "buffers": parity.table(b / RANKS for b in running),
            "masks": np.array(parity.mask_summary(convs), dtype=np.int64)}


def process(rank, port, output):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=RANKS)
    tensors = {}
    for name, (masks, penalty) in CASES.items():
        for key, value in run(masks, penalty, name == "recalibrated", rank).items():
            tensors["%s/%s" % (name, key)] = value
    if rank == 0:
        parity.write_safetensors(output, tensors)
    distributed.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free_port = free.getsockname()[1]
    output = sys.argv[1] if len(sys.argv) > 1 else "ml/training/ranks.safetensors"
    multiprocessing.spawn(process, (free_port, output), RANKS)
