"""Compares training steps of this project and of PyTorch on this machine: runs both alternately and prints ratios.

  bazel build //experiments:step_benchmark //ml/regularizers:regularizers_benchmark
  python3 tools/benchmark/compare.py [--rounds=15] [--rows=dense,static] [--json=FILE]

In each of many short rounds both sides are measured, one right after the other, so that what else the machine does
disturbs both alike. A round's ratio is PyTorch's time divided by ours. Printed is the median of the rounds' ratios with its
95 % interval, which the order of the rounds' ratios gives, whatever their distribution; fewer than six rounds have none,
and their smallest and largest ratio are printed as what they are. PyTorch's time is the best of eager, torch.compile
(which is left out with --no_compile, or if it does not work) and, on a GPU with --graph, a CUDA graph of the whole step:
the one with the smallest median time. Times are wall clock times; next to them is the ratio of processor times, which a
busy machine disturbs less. --json writes the rows with all of their rounds.

The rows "masks of a real run" use the masks in the file that --masks names, such as a run's last.safetensors, or by
default those of epoch30_masks.textproto in this folder. Rows in bfloat16 are left out on a CPU without avx512_bf16.
PyTorch computes masked filters like any others, so its time is the same for all masks.

PyTorch's processes stay, compiled and warmed up, and are asked for some steps in each round; ours begin anew.

A sweep is eight runs. Here two processes train four runs each, with one thread on a core of its own; PyTorch trains one
run after the other with --threads threads. The time is that of all steps; here it is the longer of the two processes'.
Starting processes and untimed steps are left out on both sides.

--device=cuda compares on a GPU (build with --config=cuda), except for the rows of sweeps and of the penalty alone.
There torch.compile captures CUDA graphs, as this project does. Rows in TF32 are left out on a CPU. Where minutes count,
`--short` measures the dense and the dynamic step once, without torch.compile, which takes a minute or more a row.

--no_peer measures this project alone. Otherwise the Python that runs this needs torch 2.11.
"""

import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PEER = HERE / "pytorch_peer.py"
PREFIX = "[type.googleapis.com/prunelab."
DYNAMIC = f"--pruning={PREFIX}DynamicL1] {{ rate: 0.6 }}"
STATIC = f"--pruning={PREFIX}Static] {{ rate: 0.6 }}"
COV = f"--regularizer={PREFIX}Cov] {{}}"
RESNET18 = f"--network={PREFIX}ResNetImageNet] {{ depth: 18 stem: CIFAR width: 64 image_size: 32 }}"
MOBILENET = f"--network={PREFIX}MobileNetV2] {{ stem: CIFAR }}"
DENSENET = f"--network={PREFIX}DenseNet] {{ stem: CIFAR depth: 100 growth: 12 }}"
UNIFORM = "--masks=uniform:0.6"
BFLOAT16 = "--precision=bfloat16"
TF32 = "--precision=tf32"
DENSE_PEER = ["--network=resnet56"]
DYNAMIC_PEER = ["--network=resnet56", "--gradient=straight_through", "--rate=0.6"]

REAL = "--masks=FILE"  # the file that --masks names
STATIC_PEER = ["--network=resnet56", "--gradient=masked", "--rate=0.6"]
SWEEP_RUNS = 8

# name -> (ours, PyTorch's, the goal, work)
ROWS = {
    "dense": ([], DENSE_PEER, 1.25, "dense step"),
    "dynamic_cov": ([DYNAMIC, COV, UNIFORM], DYNAMIC_PEER + ["--penalty"], 2.0, "dynamic + cov step, uniform 60 %"),
    "dynamic_cov_real": ([DYNAMIC, COV, REAL], DYNAMIC_PEER + ["--penalty"], None,
                         "dynamic + cov step, masks of a real run"),
    "static": ([STATIC, UNIFORM], STATIC_PEER, 2.5, "static step, uniform 60 %"),
    "static_real": ([STATIC, REAL], STATIC_PEER, None, "static step, masks of a real run"),
    "dense_tf32": ([TF32], DENSE_PEER + ["--tf32"], None, "dense step in TF32"),
    "dynamic_cov_tf32": ([TF32, DYNAMIC, COV, UNIFORM], DYNAMIC_PEER + ["--penalty", "--tf32"], None,
                         "dynamic + cov step in TF32, uniform 60 %"),
    "dynamic_cov_bfloat16": ([BFLOAT16, DYNAMIC, COV, UNIFORM], DYNAMIC_PEER + ["--penalty", "--autocast"], None,
                             "dynamic + cov step in bfloat16, uniform 60 %"),
    "dense_bfloat16": ([BFLOAT16], DENSE_PEER + ["--autocast"], None, "dense step in bfloat16"),
    "resnet18_bfloat16": ([BFLOAT16, RESNET18], ["--network=resnet18", "--autocast"], None,
                          "ResNet-18 (width 64), dense step in bfloat16"),
    "resnet18": ([RESNET18, DYNAMIC, UNIFORM], ["--network=resnet18"] + DYNAMIC_PEER[1:], 2.0,
                 "ResNet-18 (width 64), dynamic, uniform 60 %"),
    "mobilenet_v2": ([MOBILENET], ["--network=mobilenet_v2"], 1.25, "MobileNetV2, dense step"),
    "mobilenet_v2_dynamic": ([MOBILENET, DYNAMIC, UNIFORM], ["--network=mobilenet_v2"] + DYNAMIC_PEER[1:], None,
                             "MobileNetV2, dynamic, uniform 60 %"),
    "densenet": ([DENSENET], ["--network=densenet_bc_100"], 1.25, "DenseNet-BC-100 (growth 12), dense step"),
    "densenet_dynamic": ([DENSENET, DYNAMIC, UNIFORM], ["--network=densenet_bc_100"] + DYNAMIC_PEER[1:], None,
                         "DenseNet-BC-100 (growth 12), dynamic, uniform 60 %"),
    "sweep": ([DYNAMIC, COV, UNIFORM], DYNAMIC_PEER + ["--penalty"], 2.3,
              "sweep of 8 runs (dynamic + cov, uniform 60 %)"),
    "sweep_real": ([DYNAMIC, COV, REAL], DYNAMIC_PEER + ["--penalty"], None,
                   "sweep of 8 runs (dynamic + cov), masks of a real run"),
}
PENALTY = "penalty"
SHORT = ["dense", "dynamic_cov"]
PEERS = {"eager": [], "compile": ["--compile"], "graph": ["--graph"]}  # with their flags of pytorch_peer.py


def check_optimised(program):
    """Ends with an error if `program` does not exist or was last built with sanitizers or for debugging."""
    path = pathlib.Path(program).resolve()
    if not path.exists():
        sys.exit(f"compare.py: {program}: there is no such file; build it: bazel build //experiments:step_benchmark "
                 "//ml/regularizers:regularizers_benchmark")
    slow = [part for part in path.parts if part.endswith(("-asan", "-ubsan", "-fuzz", "-dbg", "-fastbuild"))]
    if slow:
        sys.exit(f"compare.py: {program} leads to {path}, built as {slow[0]}, whose times mean nothing; "
                 "build it without sanitizers, with --compilation_mode=opt (the default)")


def start(command, core=None):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}))


def finish(process):
    out, error = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(error.strip().splitlines()[-1] if error.strip() else "failed")
    return json.loads(out.strip().splitlines()[-1])


def run_ours(flags, arguments):
    common = [arguments.program, f"--steps={arguments.steps}", f"--batch={arguments.batch}",
              f"--device={arguments.device}"]
    return finish(start(common + [f"--threads={arguments.threads}"] + flags))


def run_our_sweep(flags, arguments):
    """A sweep of SWEEP_RUNS runs: milliseconds and cpu_milliseconds are those of one step of each run."""
    command = [arguments.program, f"--steps={arguments.steps}", f"--batch={arguments.batch}", "--threads=1"] + flags
    cores = sorted(os.sched_getaffinity(0))[:2]

    def runs_of(core):
        return [finish(start(command, core)) for _ in range(SWEEP_RUNS // len(cores))]

    with concurrent.futures.ThreadPoolExecutor() as pool:
        of_cores = list(pool.map(runs_of, cores))
    every = [result for results in of_cores for result in results]
    sweep = dict(every[0])
    sweep["milliseconds"] = max(sum(result["milliseconds"] for result in results) for results in of_cores)
    sweep["cpu_milliseconds"] = sum(result["cpu_milliseconds"] for result in every)
    sweep["peak_bytes"] = sum(max(result["peak_bytes"] for result in results) for results in of_cores)
    return sweep


class Peer:
    """PyTorch's side: a process that has warmed up when this is made, and times --steps steps when it is asked."""

    def __init__(self, flags, arguments, kind):
        self.errors = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            [sys.executable, str(PEER), "--on_request", f"--steps={arguments.steps}", f"--batch={arguments.batch}",
             f"--threads={arguments.threads}", f"--device={arguments.device}"] + flags + PEERS[kind],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        try:
            self.answer()
        except RuntimeError:
            self.close()
            raise

    def answer(self):
        for line in self.process.stdout:  # others are of libraries
            if line.startswith("{"):
                return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        raise RuntimeError(said[-1] if said else f"ended with status {self.process.returncode}")

    def measure(self, steps_of=1):
        """The answers to `steps_of` requests, one after the other; their times are added up."""
        every = []
        for _ in range(steps_of):
            try:
                self.process.stdin.write("\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                pass  # answer() says why
            every.append(self.answer())
        total = dict(every[-1])
        for key in ("milliseconds", "cpu_milliseconds"):
            total[key] = sum(result[key] for result in every)
        return total

    def close(self):
        self.process.kill()
        with self.errors:
            self.process.communicate()


def median(results, key):
    return statistics.median(result[key] for result in results)


def can_run(name, arguments):
    if name.endswith("_tf32"):
        return arguments.device == "cuda"
    if name.endswith("_bfloat16"):
        return arguments.device == "cuda" or "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text()
    if arguments.device == "cuda" and (name.startswith("sweep") or name == PENALTY):
        return False  # of two cores
    return True


def peers_of(arguments):
    """The kinds of PyTorch's step that are measured."""
    if arguments.no_peer:
        return []
    left_out = {"eager": arguments.no_eager, "compile": arguments.no_compile, "graph": not arguments.graph}
    return [kind for kind in PEERS if not left_out[kind]]


def digits(milliseconds):
    """Three digits, or all before the point."""
    return f"{milliseconds:.{0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2}f}"


def median_interval(values):
    """The narrowest [low, high] of two of the values, equally far from both ends, that has the median of what they were
    drawn from with probability 0.95 at least: each value is below it with probability 1/2. None of fewer than six."""
    values, n = sorted(values), len(values)
    outside, left = 0, 0  # 2 P(fewer than left + 1 of n below)
    while left < n // 2:
        outside += 2 * math.comb(n, left) / 2**n
        if outside > 0.05:
            break
        left += 1
    return [values[left - 1], values[n - left]] if left else None


def with_interval(values, unit=""):
    """The median with its interval, or with the values' range where there are too few for one."""
    text, interval = f"{statistics.median(values):.2f}{unit}", median_interval(values)
    if interval:
        return f"{text} [{interval[0]:.2f}, {interval[1]:.2f}]"
    return text + (f" ({len(values)} rounds: {min(values):.2f} to {max(values):.2f})" if len(values) > 1 else " (1 round)")


def measure(name, arguments):
    """What this project and the kinds of PyTorch's step measured, alternately: a list of results, a round each."""
    ours_flags, peer_flags, _, _ = ROWS[name]
    ours_flags = [f"--masks={arguments.masks}" if flag == REAL else flag for flag in ours_flags]
    sweep = name.startswith("sweep")
    our, runs = (run_our_sweep, SWEEP_RUNS) if sweep else (run_ours, 1)
    ours, peers, processes = [], {kind: [] for kind in peers_of(arguments)}, {}

    def leave_out(kind, error):
        if kind == "eager" or list(peers) == [kind]:
            raise error
        print(f"PyTorch's {kind} does not work here: {error}", file=sys.stderr)
        del peers[kind]

    try:
        for kind in list(peers):
            try:
                processes[kind] = Peer(peer_flags, arguments, kind)
            except RuntimeError as error:
                leave_out(kind, error)
        for _ in range(arguments.rounds):
            ours.append(our(ours_flags, arguments))
            for kind in list(peers):
                try:
                    peers[kind].append(processes[kind].measure(runs))
                except RuntimeError as error:
                    leave_out(kind, error)
    finally:
        for process in processes.values():
            process.close()
    return ours, peers


def row(name, arguments):
    """Prints a row of the table and returns it with all of its rounds."""
    _, _, goal, work = ROWS[name]
    ours, peers = measure(name, arguments)
    result = {"row": name, "work": work, "milliseconds": median(ours, "milliseconds"), "ours": ours, "peers": peers}
    cells = [work, digits(result["milliseconds"])]
    if peers:
        best = min(peers, key=lambda kind: median(peers[kind], "milliseconds"))
        ratios = {key: [peer[key] / our[key] for our, peer in zip(ours, peers[best])]
                  for key in ("milliseconds", "cpu_milliseconds")}
        others = "".join(f", {kind} {digits(median(peers[kind], 'milliseconds'))}" for kind in peers if kind != best)
        cells += [f"{digits(median(peers[best], 'milliseconds'))} ({best}{others})",
                  with_interval(ratios["milliseconds"]), with_interval(ratios["cpu_milliseconds"]),
                  f"{median(ours, 'peak_bytes') / 1e6:.0f} / {median(peers[best], 'peak_bytes') / 1e6:.0f} MB",
                  str(goal or "-")]
        result.update(best=best, ratio=statistics.median(ratios["milliseconds"]),
                      interval=median_interval(ratios["milliseconds"]))
    else:
        cells += ["-", "-", "-", f"{median(ours, 'peak_bytes') / 1e6:.0f} MB", str(goal or "-")]
    print("| " + " | ".join(cells) + " |", flush=True)
    return result


def penalty_row(arguments):
    command = [arguments.penalty_program, "--benchmark_filter=BM_AsInTraining/prunelab.Cov/masked:0", "--benchmark_format=json"]
    shares, penalties, steps = [], [], []
    for _ in range(arguments.rounds):
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
        penalties.append(json.loads(out)["benchmarks"][0]["real_time"])
        steps.append(run_ours([], arguments)["milliseconds"])
        shares.append(100 * penalties[-1] / steps[-1])
    print(f"| cov penalty with gradient | {statistics.median(penalties):.1f} | of a dense step's "
          f"{statistics.median(steps):.0f} | {with_interval(shares, ' %')} | | | under 2 % |", flush=True)
    return {"row": PENALTY, "percent_of_a_step": shares, "interval": median_interval(shares),
            "milliseconds": statistics.median(penalties)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(ROWS) + [PENALTY]
    parser.add_argument("--program", default="bazel-bin/experiments/step_benchmark")
    parser.add_argument("--penalty_program", default="bazel-bin/ml/regularizers/regularizers_benchmark")
    parser.add_argument("--rows", help="which, of " + ", ".join(names))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=4, help="of each side in a round")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no_compile", action="store_true")
    parser.add_argument("--no_eager", action="store_true", help="goes with --graph")
    parser.add_argument("--graph", action="store_true", help="on cuda, also PyTorch's step as one CUDA graph")
    parser.add_argument("--no_peer", action="store_true", help="measures this project alone")
    parser.add_argument("--short", action="store_true",
                        help=f"rows {','.join(SHORT)}, if --rows does not name others, in one round, without compile")
    parser.add_argument("--json", help="a file for the rows with all of their rounds")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--masks", default=str(HERE / "epoch30_masks.safetensors"),
                        help="a .safetensors file with the masks of a real run")
    arguments = parser.parse_args()
    if arguments.graph and arguments.device != "cuda":
        parser.error("--graph goes with --device=cuda")
    if arguments.no_eager and not arguments.graph:
        parser.error("--no_eager goes with --graph: something of PyTorch's must be measured, or give --no_peer")
    if arguments.short:
        arguments.rounds, arguments.no_compile = 1, True
    check_optimised(arguments.program)
    rows = SHORT if arguments.short else [n for n in names if can_run(n, arguments)]
    if arguments.rows:
        rows = arguments.rows.split(",")
    for name in rows:
        if name not in names:
            parser.error(f"--rows: there is no {name}; of {', '.join(names)}")
    if PENALTY in rows:
        check_optimised(arguments.penalty_program)
    print("| work | ours ms | PyTorch ms | ratio [95 %] | of processor time [95 %] | peak memory, ours / PyTorch | goal |")
    print("|---|---|---|---|---|---|---|")
    results = []
    for name in rows:
        results.append(penalty_row(arguments) if name == PENALTY else row(name, arguments))
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
