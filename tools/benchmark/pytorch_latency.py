"""The latency of a removed network in PyTorch eager: the peer of //ml/compression:latency_benchmark.

    bazel run //ml/compression:latency_benchmark -- --export=/tmp/removed.onnx
    python3 tools/benchmark/pytorch_latency.py /tmp/removed.onnx --threads=1     (torch, onnx, numpy)

It reads the network and its weights from the ONNX file and calls torch's functions node by node, channels_last, like
the forward of an eager module.
"""

import argparse
import statistics
import time

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper


def steps_of(path):
    """The steps of the network, in order: functions that change the dictionary of values."""
    graph = onnx.load(path).graph
    weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    for name, tensor in weights.items():
        if tensor.dim() == 4:
            weights[name] = tensor.contiguous(memory_format=torch.channels_last)
    pads = {}  # for scatters: Pad's output -> its input
    steps = []
    for node in graph.node:
        at = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        i, o = list(node.input), node.output[0]
        if node.op_type == "Conv":
            bias = weights[i[2]] if len(i) > 2 else None
            arguments = (weights[i[1]], bias, at["strides"], at["pads"][:2], at["dilations"], at["group"])
            steps.append(lambda v, x=i[0], o=o, a=arguments: v.update({o: F.conv2d(v[x], *a)}))
        elif node.op_type == "Relu":
            steps.append(lambda v, x=i[0], o=o: v.update({o: F.relu(v[x])}))
        elif node.op_type == "Sum":
            def add(v, i=i, o=o):
                total = v[i[0]]
                for name in i[1:]:
                    total = total + v[name]
                v[o] = total
            steps.append(add)
        elif node.op_type == "GlobalAveragePool":
            steps.append(lambda v, x=i[0], o=o: v.update({o: F.adaptive_avg_pool2d(v[x], 1)}))
        elif node.op_type == "Flatten":
            steps.append(lambda v, x=i[0], o=o: v.update({o: v[x].flatten(1)}))
        elif node.op_type == "Gemm":
            steps.append(lambda v, x=i[0], o=o, a=(weights[i[1]], weights[i[2]]): v.update({o: F.linear(v[x], *a)}))
        elif node.op_type == "MaxPool":
            steps.append(
                lambda v, x=i[0], o=o, a=(at["kernel_shape"], at["strides"], at["pads"][:2]): v.update(
                    {o: F.max_pool2d(v[x], *a)}
                )
            )
        elif node.op_type == "Pad":
            pads[o] = i[0]
        elif node.op_type == "Gather":  # a scatter into the stream
            source = weights[i[1]]
            channels = source.numel()
            index = torch.nonzero(source < source.max()).flatten()
            order = source[index]
            inverse = torch.empty_like(index)
            inverse[order] = index
            def scatter(v, x=pads[i[0]], o=o, channels=channels, index=inverse):
                n, _, h, w = v[x].shape
                stream = torch.zeros(n, channels, h, w).contiguous(memory_format=torch.channels_last)
                v[o] = stream.index_copy(1, index, v[x])
            steps.append(scatter)
        else:
            raise SystemExit(f"{path}: {node.op_type} is not known here")
    return graph, weights, steps


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("onnx")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    graph, weights, steps = steps_of(arguments.onnx)
    shape = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim][1:]
    images = torch.ones(arguments.batch_size, *shape).contiguous(memory_format=torch.channels_last)
    times = []
    with torch.no_grad():
        for run in range(-2, arguments.runs):
            start = time.perf_counter()
            values = dict(weights, images=images)
            for step in steps:
                step(values)
            if run >= 0:
                times.append(1e3 * (time.perf_counter() - start))
    low, middle, high = statistics.quantiles(times, n=4)
    print(f"PyTorch {torch.__version__} eager, batch {arguments.batch_size}, {arguments.threads} threads: "
          f"median {middle:.2f} ms, quartiles {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
