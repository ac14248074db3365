"""Times networks in float32 and int8 here and in onnxruntime, one batch each in turn.

    bazel build -c opt //ml/quantization:integer_benchmark
    python3 tools/benchmark/onnxruntime_int8.py bazel-bin/ml/quantization/integer_benchmark --threads=1 --batch_size=64 \\
        --network='[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }' --removed      (onnxruntime, numpy)

The program exports the network in both forms, and these files are what onnxruntime runs, with as many threads. Prints
medians, and the medians and quartiles of the pairs' own ratios.
"""

import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnxruntime


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--network")
    parser.add_argument("--checkpoint")
    parser.add_argument("--removed", action="store_true")
    parser.add_argument("--rate", type=float, default=0.6)
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    files = {"float": folder / "float.onnx", "int8": folder / "int8.onnx"}
    command = [arguments.program, "--serve", f"--export_float={files['float']}", f"--export_int8={files['int8']}",
               f"--batch_size={arguments.batch_size}", f"--threads={arguments.threads}", f"--rate={arguments.rate}",
               f"--round={arguments.round}", f"--removed={'true' if arguments.removed else 'false'}"]
    if arguments.network:
        command.append(f"--network={arguments.network}")
    if arguments.checkpoint:
        command.append(f"--checkpoint={arguments.checkpoint}")
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def here(kind):
        server.stdin.write(kind + "\n")
        server.stdin.flush()
        return float(server.stdout.readline())

    here("float")  # the files are there now
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    sessions = {kind: onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
                for kind, path in files.items()}
    shape = sessions["float"].get_inputs()[0].shape[1:]
    images = np.random.default_rng(1).normal(size=(arguments.batch_size, *shape)).astype(np.float32)

    def there(kind):
        begin = time.perf_counter()
        sessions[kind].run(None, {"images": images})
        return time.perf_counter() - begin

    rows = {f"{kind} {place}": [] for kind in files for place in ("here", "onnxruntime")}
    for run in range(arguments.runs + 2):
        for name, values in rows.items():
            kind, place = name.split()
            seconds = here(kind) if place == "here" else there(kind)
            if run >= 2:
                values.append(seconds)
    server.stdin.close()
    server.wait()
    print(f"batch {arguments.batch_size}, {arguments.threads} threads, {arguments.runs} runs in turn")
    for name, values in rows.items():
        print(f"{name:<18} {1e3 * statistics.median(values):9.3f} ms")
    for above, below in (("float here", "int8 here"), ("float onnxruntime", "int8 onnxruntime"),
                         ("int8 onnxruntime", "int8 here"), ("float onnxruntime", "float here")):
        middle, low, high = quartiles([a / b for a, b in zip(rows[above], rows[below])])
        print(f"{above} / {below}: {middle:.2f} ({low:.2f} to {high:.2f})")


main()
