"""Several processes for one run beside one process with as many threads: images a second of the same training.

    bazel build //experiments:ablation
    python3 tools/benchmark/ranks.py bazel-bin/experiments/ablation --config=F --arm=A [--override=TEXT] [--ranks=2]
      [--rounds=7]

Each round trains seed 1 of the arm twice, in alternating order: with --ranks=N --threads_per_run=1, and with
--ranks=1 --threads_per_run=N. A training's time is that of its epochs after the first, as timing.jsonl has it, without the
start of processes. Printed are the medians of images a second, and of the rounds' own ratios with their quartiles.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile


def speed(arguments, folder, ranks, threads):
    command = [arguments.program, "--config=%s" % arguments.config, "--arms=%s" % arguments.arm, "--seeds=1", "--jobs=1",
               "--ranks=%d" % ranks, "--threads_per_run=%d" % threads, "--output=%s" % folder, "--device=cpu"]
    command += ["--override=%s" % arguments.override] if arguments.override else []
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        sys.exit(ended.stderr)
    lines = pathlib.Path(folder, arguments.arm, "1", "timing.jsonl").read_text().splitlines()
    epochs = [json.loads(line) for line in lines][1:]
    if not epochs:
        sys.exit("the training has one epoch; give it more, because the first is not counted")
    return sum(epoch["images"] for epoch in epochs) / sum(epoch["seconds"] for epoch in epochs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--config", required=True)
    parser.add_argument("--arm", required=True)
    parser.add_argument("--override", default="")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    together, alone = [], []
    for round_number in range(arguments.rounds):
        pair = [(together, arguments.ranks, 1), (alone, 1, arguments.ranks)]
        for speeds, ranks, threads in pair if round_number % 2 == 0 else pair[::-1]:
            with tempfile.TemporaryDirectory() as folder:
                speeds.append(speed(arguments, folder, ranks, threads))
        print("round %d: %.0f images/s by %d processes, %.0f by %d threads, ratio %.3f" % (
            round_number + 1, together[-1], arguments.ranks, alone[-1], arguments.ranks, together[-1] / alone[-1]), flush=True)
    ratios = [a / b for a, b in zip(together, alone)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    print("%d processes: %.0f images/s; %d threads: %.0f images/s; ratio %.3f [%.3f, %.3f]" % (
        arguments.ranks, statistics.median(together), arguments.ranks, statistics.median(alone), middle, low, high))


if __name__ == "__main__":
    main()
