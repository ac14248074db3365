"""Times ONNX networks in an inference engine, in turn.

    python3 tools/engine_latency.py onnxruntime dense.onnx small.onnx --batch_size=1 --threads=1
                                                                (numpy, and onnxruntime or openvino)

For each file it prints a line: median, first and third quartile in seconds per batch, and the number of runs. The files
take turns, so that other load on the machine disturbs all of them equally. Two turns are not counted; then --runs turns
are timed, or fewer (at least three) if they take longer than --seconds together. `//tools:compress --for=onnxruntime`
calls it.
"""

import argparse
import time

import numpy


def onnxruntime_caller(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    return given, lambda images: session.run(None, {given.name: images})


def openvino_caller(path, threads):
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return request.model_inputs[0], lambda images: request.infer([images], share_inputs=True, share_outputs=True)


CALLERS = {"onnxruntime": onnxruntime_caller, "openvino": openvino_caller}


def shape_of(given, batch_size):
    """The input's shape with the batch's size in place of the open one."""
    shape = getattr(given, "partial_shape", None) or given.shape
    return [batch_size] + [d.get_length() if hasattr(d, "get_length") else int(d) for d in list(shape)[1:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=sorted(CALLERS))
    parser.add_argument("files", nargs="+")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    callers = [CALLERS[arguments.engine](path, arguments.threads) for path in arguments.files]
    shape = shape_of(callers[0][0], arguments.batch_size)
    images = numpy.sin(1e4 * numpy.linspace(-1, 1, int(numpy.prod(shape)))).astype(numpy.float32).reshape(shape)
    times, total, turn = [[] for _ in callers], 0, -2
    while turn < 3 or (turn < arguments.runs and total < arguments.seconds):
        for mine, (_, call) in zip(times, callers):
            start = time.perf_counter()
            call(images)
            taken = time.perf_counter() - start
            if turn >= 0:
                mine.append(taken)
                total += taken
        turn += 1
    for mine in times:
        print(*("%.9f" % numpy.quantile(mine, q) for q in (0.5, 0.25, 0.75)), len(mine))


if __name__ == "__main__":
    main()
