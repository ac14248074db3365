#!/usr/bin/env python3
"""Checks a machine with an NVIDIA GPU in nine minutes: prints a table, and writes every figure as JSON.

  bin/gpu_check                             in the package for CUDA; in a working tree, after building with
                                            --config=cuda, python3 tools/gpu_check.py (docs/performance.md)
  bin/gpu_check --resume                    makes what gpu_check.json does not have yet
  bin/gpu_check --parts=c,f --minutes=4
  bin/gpu_check --device=cpu                the same checks on a machine without a GPU, to try the script itself

The parts, the most important first:

  a  what is there: nvidia-smi, versions, the GPU's name and memory
  b  kernels against the host's loops (the package's tests), and under compute-sanitizer
  c  1 and 24 steps of ResNet-20 and ResNet-56, against the CPU in float64 and float32
  d  CUDA graphs against plain steps, and killed runs against undisturbed ones, bit for bit
  e  every strategy and every regularizer: an epoch of digits, steps that wait for the GPU; memory over 100 recordings
  f  times: steps beside PyTorch's, epochs of several runs at once, ResNet-50
  g  an ablation from its config to its report, against the CPU's

Each part has its share of --minutes. A check ends as PASS, FAIL or ABSENT: this machine lacks what it needs, or its
part's time was over. What has no meaning on a CPU is ABSENT there, also if the programs ran. The exit status is 1 if a
check failed.

It needs Python 3.9 or newer; for the comparison with PyTorch that Python needs torch 2.11.
"""

import array
import csv
import hashlib
import json
import math
import operator
import os
import pathlib
import platform
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import command_line
from check_list import ABSENT, FAIL, PASS, CommandFailed, Ledger, NotPossible, Outcome, Part, part_seconds, passed_if, stop

HERE = pathlib.Path(os.path.abspath(__file__)).parent
if HERE.name == "bin":  # of the package, whose bin/gpu_check is a link to libexec/gpu_check.py
    HERE = pathlib.Path(__file__).resolve().parent
PLUGIN = "[type.googleapis.com/prunelab."
DYNAMIC, STATIC, COV = (PLUGIN + name for name in ("DynamicL1] { rate: 0.6 }", "Static] { rate: 0.6 }", "Cov] {}"))

# Each part's share of the time, in the order in which they are made: seconds of nine minutes on a GPU, and what the
# short form's work comes to on a CPU. One after the other: their programs' threads already fill the cores, and with the
# parts at once each took several times as long (H200, 16 cores).
WEIGHTS = {"a": 20, "b": 110, "c": 50, "d": 40, "e": 50, "f": 230, "g": 40}
SHORT_WEIGHTS = {"a": 1, "b": 2, "c": 4, "d": 5, "e": 5, "f": 4, "g": 3}
# Seconds on a GPU after which a check of part f has hung, so that it does not take the time of the others.
LIMITS = {"row": 60, "packed": 70, "large": 60}


# What is checked with, and where it is ---------------------------------------------------------------------------------


class Sizes:
    """How much work the checks are. The short form tries the script in a minute or two, on any machine."""

    def __init__(self, short):
        self.short = short
        # Threads of what is by itself on the machine. Two that wait for each other take minutes where others compute too.
        self.threads = 1 if short else len(os.sched_getaffinity(0))
        # Part c: name -> network; the steps after which states are compared, the last of them; images a step.
        self.networks = ({"ResNet-8": resnet(8, 8)} if short else {"ResNet-20": resnet(20), "ResNet-56": resnet(56)})
        self.steps, self.batch = (6, 8) if short else (24, 16)
        # Part d.
        self.graph_network, self.graph_steps = (resnet(8, 8), 8) if short else (resnet(56), 24)
        self.epochs_to_kill = 5 if short else 12
        # Part e: how many of the methods (0: all), timed steps, and recordings.
        self.methods, self.waiting_steps, self.recordings = (4, 4, 10) if short else (0, 20, 100)
        # Part f.
        self.table = ["--steps=1", "--batch=4", "--rounds=1"] if short else ["--steps=60", "--rounds=1"]
        self.jobs = [1, 2] if short else [1, 4, 8, 16]
        self.packed_network, self.packed_steps, self.packed_batch = (
            (resnet(8, 8), 4, 8) if short else (resnet(56), 100, 128))
        self.large = ["--batch=2", "--steps=1"] if short else ["--batch=64", "--steps=12"]
        self.large_name, self.large_network = (
            ("ResNet-18, 8 channels wide, 32 pixels", "depth: 18 width: 8 image_size: 32") if short else
            ("ResNet-50 at 224 pixels", "depth: 50 image_size: 224"))
        # Part g: which runs, fields of their training, and the accuracy by which two trainings may differ.
        self.digits, self.digits_training = (
            (["--arms=none/none,dynamic_l1/cov", "--seeds=1"], "epochs: 3 ") if short else ([], ""))
        self.accuracy_band = 0.15 if short else 0.03


def resnet(depth, width=16):
    return PLUGIN + "ResNetCifar] { depth: %d width: %d }" % (depth, width)


class Machine:
    """The device that is checked, and where programs, tests, scripts and configs are."""

    def __init__(self, arguments, scratch):
        self.device, self.sizes = arguments.device, Sizes(arguments.short)
        self.on_gpu = self.device == "cuda"
        self.scratch = pathlib.Path(scratch)
        self.cores = len(os.sched_getaffinity(0))
        root = HERE.parent
        self.packaged = HERE.name == "libexec"
        if arguments.programs:
            self.programs = [pathlib.Path(path) for path in arguments.programs.split(",")]
        else:
            self.programs = [root / "bin"] if self.packaged else [root / "bazel-bin/experiments"]
        self.launcher = [root / "bin/prunelab-env"] if self.packaged else []
        if arguments.tests:
            self.tests = tests_in(arguments.tests.split(","))
        else:
            self.tests = tests_in([root / "tests"] if self.packaged else root.glob("bazel-bin/ml/kernels/*"))
        self.compare = (root if self.packaged else HERE) / "benchmark/compare.py"
        self.configs = (root / "configs") if self.packaged else root / "experiments/configs"
        self.python = arguments.python
        self.environment = self._environment()
        self.torch = None  # torch_facts, once they are known

    def _environment(self):
        """For all programs; the package's launcher need not look for LibTorch anew each time."""
        environment = dict(os.environ)
        if self.packaged and "PRUNELAB_TORCH" not in environment:
            found = re.search(r"^torch \S+ in (.+) \(found by ", output_of(self.launcher), re.MULTILINE)
            if found:
                environment["PRUNELAB_TORCH"] = found.group(1)
        return environment

    def program(self, name):
        for folder in self.programs:
            if (folder / name).exists():
                return folder / name
        raise CommandFailed(f"there is no program {name} in {', '.join(map(str, self.programs))}; "
                            "--programs names other folders")

    def folder(self, name):
        path = self.scratch / re.sub(r"[^\w.-]", "_", name)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def step_benchmark(self, *flags):
        return [self.program("step_benchmark"), *flags]

    def ablation(self, config, output, jobs, *flags, device=None):
        return [self.program("ablation"), f"--config={config}", f"--output={output}", f"--jobs={jobs}",
                f"--device={device or self.device}", *flags]

    def without_meaning(self, outcome, why):
        """On a CPU a check of something that only a GPU has is never passed; a failure remains one."""
        if self.on_gpu or outcome.result != PASS:
            return outcome
        return Outcome(ABSENT, f"no meaning on a CPU: {why} (ran: {outcome.figure})", outcome.figures)


def tests_in(paths):
    """The test programs among files and, directly in them, folders."""
    found = []
    for path in map(pathlib.Path, paths):
        found += sorted(path.iterdir()) if path.is_dir() else [path]
    return [path for path in found if path.name.endswith("_test") and path.is_file() and os.access(path, os.X_OK)]


def output_of(command):
    try:
        return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def needs_gpu(machine):
    if not machine.on_gpu:
        raise NotPossible("no meaning on a CPU")


def tool(name, *folders):
    """The path of a program that comes with CUDA, or NotPossible."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *folders]))
    if not found:
        raise NotPossible(f"there is no {name} here")
    return found


# a: what is there ------------------------------------------------------------------------------------------------------


def part_a(part, machine):
    part.checks([
        ("the machine", lambda run: describe_host(machine)),
        ("the programs", lambda run: describe_programs(run, machine)),
        ("nvidia-smi", lambda run: describe_gpu(run, machine)),
        ("the programs use the device", lambda run: describe_device(run, machine)),
        ("PyTorch", lambda run: describe_torch(run, machine)),
        ("compute-sanitizer", lambda run: describe_tool(run, machine, "compute-sanitizer", "--version")),
        ("the multi-process service", lambda run: describe_tool(run, machine, "nvidia-cuda-mps-control")),
    ], at_once(machine))


def describe_host(machine):
    try:
        cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text()).group(1)
    except (OSError, AttributeError):
        cpu = platform.machine()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    figures = {"cpu": cpu, "cores": machine.cores, "memory_bytes": memory, "libc": " ".join(platform.libc_ver()),
               "python": platform.python_version(), "kernel": platform.release()}
    return Outcome(PASS, f"{cpu}, {machine.cores} cores, {memory / 2**30:.0f} GiB, {figures['libc']}, "
                         f"Python {figures['python']}", figures)


def describe_programs(run, machine):
    methods = list_of_methods(run, machine)
    version = output_of(machine.launcher + ["--version"]).strip() if machine.packaged else "a working tree"
    figure = ", ".join(f"{len(names)} {kind}" for kind, names in methods.items())
    good = len(methods.get("pruning strategy", [])) > 1 and len(methods.get("regularizer", [])) > 1
    return passed_if(good, f"{version}; of each kind: {figure}", {"version": version, "methods": methods})


def list_of_methods(run, machine):
    return methods_of(run.call([machine.program("ablation"), "--list"]).out)


def methods_of(text):
    """What `ablation --list` prints: kind -> the names of its plugins, without their package."""
    methods, kind = {}, None
    for line in text.splitlines():
        name = re.match(r"  prunelab\.(\w+)", line)
        if name:
            methods[kind].append(name.group(1))
        elif line.endswith(":") and not line.startswith(" "):
            kind = line[:-1]
            methods[kind] = []
    return methods


GPU_FIELDS = ["name", "driver_version", "memory.total", "memory.used", "compute_cap", "clocks.max.sm", "compute_mode",
              "mig.mode.current"]


def describe_gpu(run, machine):
    needs_gpu(machine)
    smi = tool("nvidia-smi")
    plain = run.call([smi]).out
    query = run.call([smi, "--query-gpu=" + ",".join(GPU_FIELDS), "--format=csv,noheader"]).out
    values = [value.strip() for value in query.splitlines()[0].split(",")]
    figures = {**dict(zip(GPU_FIELDS, values)), "gpus": len(query.splitlines()), "nvidia_smi": plain}
    cuda = re.search(r"CUDA Version: (\S+)", plain)
    figures["driver_cuda"] = cuda.group(1) if cuda else None
    return Outcome(PASS, f"{figures['gpus']} x {values[0]}, {values[2]}, driver {values[1]}, CUDA {figures['driver_cuda']}, "
                         f"{values[4]}", figures)


def describe_device(run, machine):
    printed = run.call(machine.step_benchmark(f"--network={resnet(8, 8)}", "--batch=8", "--steps=1", "--threads=1",
                                              f"--device={machine.device}")).last_json()
    return passed_if(printed["device"].startswith(machine.device), f"{printed['device']}, plan {printed['plan']}, "
                                                                   f"{printed['cpu_capability']}", printed)


TORCH = """
import json, torch
facts = {"torch": torch.__version__, "cuda": torch.version.cuda, "available": torch.cuda.is_available(),
         "cudnn": torch.backends.cudnn.version()}
if facts["available"]:
    properties = torch.cuda.get_device_properties(0)
    facts.update(gpu=properties.name, memory_bytes=properties.total_memory, capability=[properties.major, properties.minor])
print(json.dumps(facts))
"""


def describe_torch(run, machine):
    facts = torch_facts(run, machine)
    return passed_if(facts["available"] or not machine.on_gpu,
                     f"{facts['torch']}, CUDA {facts['cuda']}, cuDNN {facts['cudnn']}, "
                     f"{facts.get('gpu', 'no GPU')}", facts)


def torch_facts(run, machine):
    """What the Python for PyTorch's side has; NotPossible if torch cannot be imported there. It is asked once: importing
    torch takes seconds."""
    if machine.torch is None:
        finished = run.call([machine.python, "-c", TORCH], statuses=(0, 1))
        if finished.status != 0:
            raise NotPossible(f"PyTorch is not importable by {machine.python}")
        machine.torch = finished.last_json()
    return machine.torch


def describe_tool(run, machine, name, *flags):
    needs_gpu(machine)
    path = tool(name, "/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")
    return Outcome(PASS, path, {"path": path, "says": run.call([path, *flags]).out if flags else None})


# b: kernels ------------------------------------------------------------------------------------------------------------

SANITIZERS = ["memcheck", "racecheck", "initcheck"]
# Under a sanitizer: without what runs on the host alone, such as the device's threads one by one.
SANITIZED = "--gtest_filter=-*Threads*:*Blocks*:*Death*:*/cpu"


def part_b(part, machine):
    if not machine.tests:
        part.check("tests", lambda run: no_tests(machine))
        return
    names = names_of(machine.tests)
    trainings = [test for test in machine.tests if test.name.endswith("_device_test")]
    kernels = [test for test in machine.tests if test not in trainings]
    named = [(names[test], lambda run, test=test: tested(run, machine, test)) for test in kernels]
    named += [(names[test], lambda run, test=test: trained(run, machine, test)) for test in trainings]
    named += [(f"{tool} of {names[test]}", lambda run, tool=tool, test=test: sanitized(run, machine, tool, test))
              for tool in SANITIZERS for test in kernels]  # last, because they are slow: a minute or more each
    part.checks(named, at_once=at_once(machine))


def trained(run, machine, test):
    """Runs a test of trainings, which takes minutes on a CPU and is one of the project's own tests there."""
    if not machine.on_gpu:
        raise NotPossible("no meaning on a CPU: Bazel's tests run it there")
    return tested(run, machine, test)


def names_of(tests):
    """Each test's name, with its folder's where two have the same."""
    names = [test.name for test in tests]
    return {test: test.name if names.count(test.name) == 1 else f"{test.parent.name}/{test.name}" for test in tests}


def no_tests(machine):
    raise NotPossible("there are no test programs: the package for CUDA has them in tests/, and --tests names others")


def tested(run, machine, test):
    """Runs a GoogleTest program. Tests that it skipped are no passed ones."""
    report = machine.folder("test " + test.name) / "report.json"
    finished = run.call(machine.launcher + [test, f"--gtest_output=json:{report}", *on_the_device(machine)], statuses=(0, 1),
                        environment={"TEST_TMPDIR": str(report.parent)})
    if not report.exists():
        raise CommandFailed(f"{test.name} ended with status {finished.status} without a report", run.tail)
    return outcome_of_tests(json.loads(report.read_text()), finished.status)


def on_the_device(machine):
    """On a GPU, a test's cases on the CPU take most of its time, and Bazel's tests run them."""
    return ["--gtest_filter=-*/cpu"] if machine.on_gpu else []


def outcome_of_tests(report, status):
    """The Outcome of a GoogleTest report in JSON, and of the program's exit status."""
    cases = [(suite["name"] + "." + case["name"], case) for suite in report["testsuites"] for case in suite["testsuite"]]
    failed = [name for name, case in cases if case.get("failures")]
    skipped = [name for name, case in cases if case.get("result") == "SKIPPED"]
    passed = len(cases) - len(failed) - len(skipped)
    figure = f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped"
    figures = {"passed": passed, "failed": failed, "skipped": skipped}
    if failed or status != 0:
        return Outcome(FAIL, figure + (": " + ", ".join(failed[:3]) if failed else f", but status {status}"), figures)
    return Outcome(PASS if passed else ABSENT, figure, figures)


def sanitized(run, machine, sanitizer, test):
    needs_gpu(machine)
    path = tool("compute-sanitizer", "/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")
    finished = run.call(machine.launcher + [path, "--tool", sanitizer, "--error-exitcode=99", test, SANITIZED],
                        environment={"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}, statuses=(0, 1, 99))
    return judged_sanitizer(finished.status, finished.out + finished.error)


def judged_sanitizer(status, output):
    """Passed if the tests passed under the sanitizer, which found nothing; a program without a test on the device is no
    passed one."""
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (.*)", output)
    ran = re.search(r"\[  PASSED  \] (\d+) test", output)
    if status == 0 and ran and int(ran.group(1)) == 0:
        raise NotPossible("it has no test on the device")
    return passed_if(status == 0 and summary is not None and ran is not None,
                     f"{summary.group(1)}; {ran.group(1) if ran else 'no'} tests passed" if summary
                     else f"no summary, status {status}")


# c: steps against the CPU ----------------------------------------------------------------------------------------------

# In float64 rounding is too fine to open or close a ReLU, so devices agree closely, and on the masks exactly.
BAND_FLOAT64 = {"loss": 1e-9, "network": 1e-8, "momentum": 1e-6}
# In float32 the device may be this many times as far from float64 as the CPU is, or as far as the floor. A first step
# has few roundings: TF32 in the place of float32 would be off by 1e-3 in the momentum. Later an activation within
# rounding of zero opens its ReLU on one device and not on the other, which training amplifies, on the CPU too: the floor
# for later steps only tells a training that goes the same way from one that does not.
TIMES_AS_FAR = 10
FLOOR_FIRST_STEP = {"loss": 1e-5, "network": 1e-6, "momentum": 2e-4}
FLOOR_LATER = {"loss": 2e-2, "network": 1e-1, "momentum": 0.7}
MASKS_FLOAT32 = 0.02  # the share of masks' entries that may differ: filters whose importance is within rounding

# At 0.1 two float32 trainings on one CPU have nothing in common after 24 steps of small batches. A power of 2, because on
# a GPU LibTorch's SGD takes the learning rate as a float32: with 0.01 two float64 trainings on one CPU, one of them with
# float32's 0.01, are 24 % apart after 24 steps of ResNet-56.
LEARNING_RATE = 2.0**-7

KINDS = {"dense": [], "dynamic": [f"--pruning={DYNAMIC}"], "static": [f"--pruning={STATIC}"],
         "dynamic + cov": [f"--pruning={DYNAMIC}", f"--regularizer={COV}"]}


def part_c(part, machine):
    sizes = machine.sizes
    named = [(f"{name} {kind}, {steps_text(sizes)}",
              lambda run, name=name, network=network, kind=kind: against_the_cpu(run, machine, name, network, kind))
             for name, network in sizes.networks.items() for kind in KINDS]
    part.checks(named, at_once=at_once(machine))


def at_once(machine):
    return max(1, min(4, machine.cores // 3))


def steps_text(sizes):
    return f"1 and {sizes.steps} steps"


def against_the_cpu(run, machine, name, network, kind):
    """Trains on the device and on the CPU by the plain plan, in float32 and float64, and compares the states."""
    sizes = machine.sizes
    reference = ["--device=cpu", "--skipping=false"]
    sides = {"cpu64": reference + ["--dtype=float64"], "cpu32": reference,
             "device64": [f"--device={machine.device}", "--dtype=float64"], "device32": [f"--device={machine.device}"]}
    threads = max(1, sizes.threads // at_once(machine))
    folders = {}
    for side, flags in sides.items():
        folders[side] = machine.folder(f"c {name} {kind} {side}")
        run.call(machine.step_benchmark(f"--network={network}", *KINDS[kind], *flags, f"--batch={sizes.batch}",
                                        f"--threads={threads}", f"--learning_rate={LEARNING_RATE}",
                                        f"--save_after=1,{sizes.steps}", f"--save_to={folders[side]}"))
    faults, figures, texts = [], {}, []
    for step in (1, sizes.steps):
        states = {side: State.read(folder / f"step{step}.safetensors") for side, folder in folders.items()}
        distances = {side: distance(states[side], states["cpu64"]) for side in ("cpu32", "device64", "device32")}
        figures[f"step {step}"] = distances
        faults += [f"step {step}: {fault}" for fault in judged(distances, first_step=step == 1)]
        texts.append("%.0e, %.0e (CPU %.0e)" % tuple(distances[side]["network"] for side in ("device64", "device32", "cpu32")))
    figure = f"weights off by, float64, float32: {'; '.join(texts)}"
    for folder in folders.values():
        shutil.rmtree(folder)
    return passed_if(not faults, "; ".join(faults) if faults else figure, figures)


def judged(distances, first_step):
    """What is beyond its band, as texts. distances: of cpu32, device64 and device32 from the CPU's float64."""
    faults = []
    for what, band in BAND_FLOAT64.items():
        found = distances["device64"][what]
        if not found <= band:
            faults.append(f"float64: {what} off by {found:.1e}, and the band is {band:.0e}")
    for what, floor in (FLOOR_FIRST_STEP if first_step else FLOOR_LATER).items():
        found, of_cpu = distances["device32"][what], distances["cpu32"][what]
        if not found <= max(TIMES_AS_FAR * of_cpu, floor):
            faults.append(f"float32: {what} off by {found:.1e}, where the CPU is off by {of_cpu:.1e}")
    if distances["device64"]["masks"] != 0:
        faults.append(f"float64: {distances['device64']['masks']:.2%} of the masks differ")
    allowed = max(MASKS_FLOAT32, TIMES_AS_FAR * distances["cpu32"]["masks"])
    if not distances["device32"]["masks"] <= allowed:
        faults.append(f"float32: {distances['device32']['masks']:.2%} of the masks differ")
    return faults


class State:
    """A saved state of a training: name -> (shape, numbers)."""

    def __init__(self, tensors):
        self.tensors = tensors

    TYPES = {"F32": "f", "F64": "d", "I64": "q", "U8": "B", "BOOL": "B"}

    @classmethod
    def read(cls, path):
        data = pathlib.Path(path).read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        tensors = {}
        for name, entry in json.loads(data[8:8 + length]).items():
            if name == "__metadata__":
                continue
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = (entry["shape"], array.array(cls.TYPES[entry["dtype"]], data[begin:end]))
        return cls(tensors)

    def numbers(self, group):
        """The tensors of a group by name: network, momentum, mask or training."""
        def group_of(name):
            prefix, slash, _ = name.partition("/")
            return prefix if slash else "network"
        return {name: values for name, (_, values) in self.tensors.items() if group_of(name) == group}

    def mean_loss(self):
        return self.tensors["training/sums"][1][0] / self.tensors["training/position"][1][2]


def distance(state, reference):
    """How far a state is from another: of the loss, relatively; of all weights, statistics and momentum, the norm of the
    difference over the norm; of the masks, the share of entries that differ. Infinite where tensors are missing."""
    loss, expected = state.mean_loss(), reference.mean_loss()
    return {"loss": abs(loss - expected) / abs(expected),
            "network": relative_norm(state.numbers("network"), reference.numbers("network")),
            "momentum": relative_norm(state.numbers("momentum"), reference.numbers("momentum")),
            "masks": share_that_differs(state.numbers("mask"), reference.numbers("mask"))}


def same_shapes(a, b):
    return a.keys() == b.keys() and all(len(a[name]) == len(b[name]) for name in a)


def relative_norm(a, b):
    if not b or not same_shapes(a, b):
        return math.inf
    difference = norm = 0.0
    for name, expected in b.items():
        if name.endswith("num_batches_tracked"):
            continue
        deltas = array.array("d", map(operator.sub, a[name], expected))
        difference += sum(map(operator.mul, deltas, deltas))
        norm += sum(map(operator.mul, expected, expected))
    return math.sqrt(difference / norm) if norm > 0 else (0.0 if difference == 0 else math.inf)


def share_that_differs(a, b):
    if not same_shapes(a, b):
        return math.inf
    total = sum(len(values) for values in b.values())
    return sum(sum(map(operator.ne, a[name], b[name])) for name in b) / total if total else 0.0


# d: bit for bit --------------------------------------------------------------------------------------------------------

GRAPH_CASES = {
    "dense": [],
    "dynamic + cov": KINDS["dynamic + cov"],
    "dynamic + cov in bfloat16": KINDS["dynamic + cov"] + ["--precision=bfloat16"],
    "dynamic + cov in TF32": KINDS["dynamic + cov"] + ["--precision=tf32"],
    "dense by the plain plan": ["--skipping=false"],
}


def part_d(part, machine):
    named = [(f"graphs = plain steps, {case}",
              lambda run, case=case, flags=flags: graphs_against_plain(run, machine, case, flags))
             for case, flags in GRAPH_CASES.items()]
    part.checks(named, at_once=at_once(machine))
    part.check("killed and resumed = undisturbed", lambda run: killed_and_resumed(run, machine))
    part.check("ablation with graphs = without", lambda run: ablation_with_and_without_graphs(run, machine))


def call_step_benchmark(run, machine, *flags):
    """Calls it; NotPossible where the device has no such precision."""
    try:
        return run.call(machine.step_benchmark(*flags))
    except CommandFailed as error:
        refused = re.search(r"--precision: .*", error.tail)
        if refused:
            raise NotPossible(refused.group(0)[:160]) from error
        raise


def check_recorded(finished):
    """Plain steps are equal to themselves, so a program that could not record its steps must not pass as one that did."""
    said = re.search(r".*(cannot be recorded|without CUDA graphs).*", finished.error + finished.out)
    if said:
        raise CommandFailed(f"the steps were not recorded: {said.group(0)[:200]}", (finished.out + finished.error)[-3000:])


def check_replayed(printed, expected):
    """Graphs are what is compared only if some were replayed; printed: step_benchmark's object."""
    if (printed["replays"] > 0) != expected:
        raise CommandFailed(f"{printed['recordings']} recordings and {printed['replays']} replays "
                            f"with --cuda_graphs={str(expected).lower()}")


def graphs_against_plain(run, machine, case, flags):
    if "--precision=tf32" in flags:
        needs_gpu(machine)
    sizes = machine.sizes
    files = []
    for graphs in ("true", "false"):
        folder = machine.folder(f"d {case} {graphs}")
        finished = call_step_benchmark(run, machine, f"--network={sizes.graph_network}", *flags,
                                       f"--device={machine.device}", f"--batch={sizes.batch}", "--threads=1",
                                       f"--cuda_graphs={graphs}", f"--save_after={sizes.graph_steps}", f"--save_to={folder}")
        check_recorded(finished)
        if machine.on_gpu:
            check_replayed(finished.last_json(), graphs == "true")
        files.append(folder / f"step{sizes.graph_steps}.safetensors")
    return machine.without_meaning(same_files([tuple(files)], f"{sizes.graph_steps} steps"), "it has no graphs")


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest() if pathlib.Path(path).exists() else None


def same_files(pairs, of_what):
    """Passed if the files of each pair are there and have the same bytes."""
    different = []
    for a, b in pairs:
        digests = digest(a), digest(b)
        if digests[0] is None or digests[0] != digests[1]:
            different.append(f"{a.parent.name}/{a.name} " + ("is missing" if None in digests else "differs" + where(a, b)))
    return passed_if(bool(pairs) and not different, "; ".join(different[:4]) or f"{of_what}: {len(pairs)} files are equal",
                     {"different": different})


def where(a, b):
    """In which tensors two safetensors files differ, as a text."""
    if a.suffix != ".safetensors":
        return ""
    first, second = State.read(a).tensors, State.read(b).tensors
    names = [name for name in sorted(first.keys() | second.keys()) if first.get(name) != second.get(name)]
    return f" in {len(names)} of {len(first)} tensors: {', '.join(names[:3])}"


DISTURBED = """
name: "disturbed"
base {
  network { %s }
  dataset { [type.googleapis.com/prunelab.Digits] {} }
  training { epochs: %d batch_size: 64 checkpoint_minutes: 0.005 random_crop_padding: 1
    sgd { learning_rate: 0.02 momentum: 0.9 weight_decay: 1e-4 } }
}
factor { name: "pruning"
  level { name: "none" }
  level { name: "dynamic_l1" patch { pruning { [type.googleapis.com/prunelab.DynamicL1] { rate: 0.6 } }
    regularization { weight: 0.7 regularizer { [type.googleapis.com/prunelab.Cov] {} } } } }
  level { name: "movement" patch { pruning { [type.googleapis.com/prunelab.Movement] {} } } }
  level { name: "rigl" patch { pruning { [type.googleapis.com/prunelab.Rigl] {} } } } }
seeds { count: 1 }
"""
DISTURBED_ARMS = ["none", "dynamic_l1", "movement", "rigl"]
RECORDS = ["state.safetensors", "last.safetensors", "epochs.jsonl", "result.json"]


def disturbed_config(machine):
    path = machine.scratch / "disturbed.textproto"
    path.write_text(DISTURBED % (resnet(8, 4 if machine.sizes.short else 16), machine.sizes.epochs_to_kill))
    return path


def disturbed_command(machine, output, *flags):
    return machine.ablation(disturbed_config(machine), output, min(machine.cores, len(DISTURBED_ARMS)),
                            "--threads_per_run=1", *flags)


def undisturbed(run, machine):
    """The output folder of the runs that nothing disturbs, which are trained once."""
    output = machine.scratch / "undisturbed"
    if not (output / "results.csv").exists():
        check_recorded(run.call(disturbed_command(machine, output)))
    return output


def run_folders(output):
    return [output / arm / "1" for arm in DISTURBED_ARMS]


def killed_and_resumed(run, machine):
    whole, output = undisturbed(run, machine), machine.folder("killed") / "out"
    command = disturbed_command(machine, output)
    log = (machine.scratch / "killed.log").open("w")
    process = run.start(command, stdout=log, stderr=log)
    try:
        while process.poll() is None and run.left() > 0 and not in_the_middle(output):
            time.sleep(0.02)
    finally:
        stop(process)
    done = [folder.parent.name for folder in run_folders(output) if (folder / "result.json").exists()]
    if len(done) == len(DISTURBED_ARMS):
        raise CommandFailed("all runs had ended before they were killed, so that nothing was resumed")
    again = run.call(command)
    trained = sum(len((folder / "timing.jsonl").read_text().splitlines()) for folder in run_folders(output))
    outcome = same_files([(output / arm / "1" / name, whole / arm / "1" / name) for arm in DISTURBED_ARMS
                          for name in RECORDS], f"killed with {len(done)} of {len(DISTURBED_ARMS)} runs done")
    outcome.figures.update(epochs_trained=trained, epochs=machine.sizes.epochs_to_kill * len(DISTURBED_ARMS),
                           seconds_resumed=again.seconds)
    return outcome


def in_the_middle(output):
    """Whether each run has begun, and one has ended an epoch."""
    lines = [len((folder / "epochs.jsonl").read_text().splitlines()) if (folder / "epochs.jsonl").exists() else 0
             for folder in run_folders(output)]
    return max(lines) >= 2


def ablation_with_and_without_graphs(run, machine):
    whole, output = undisturbed(run, machine), machine.folder("without_graphs") / "out"
    run.call(disturbed_command(machine, output, "--override=base { training { cuda_graphs: false } }"))
    outcome = same_files([(output / arm / "1" / name, whole / arm / "1" / name) for arm in DISTURBED_ARMS
                          for name in ("last.safetensors", "epochs.jsonl")], f"{len(DISTURBED_ARMS)} runs")
    return machine.without_meaning(outcome, "it has no graphs")


# e: every method -------------------------------------------------------------------------------------------------------

# What must be set where a method's defaults are refused: its fields, and the epochs that it needs. Network slimming
# ranks scales of batch norms, which are all equal before training.
SETTINGS = {"NetworkSlimming": ("epoch: 1", 2)}
METHODS = """
name: "methods"
base {
  network { %s }
  dataset { [type.googleapis.com/prunelab.Digits] {} }
  training { epochs: 1 batch_size: 64 sgd { learning_rate: 0.02 momentum: 0.9 weight_decay: 1e-4 } }
}
factor { name: "method"
%s
}
seeds { first: 1 count: 1 }
"""
PENALTY_WEIGHT = 0.1
# Two devices' mean loss of the first epoch, relatively. Rounding decides ties, and which filters are masked first.
LOSS_BAND = 0.1


def combinations(methods, at_most=0):
    """Every strategy with no regularizer and with Cov, and every regularizer with no strategy: name -> the two.

    at_most: only so many strategies and regularizers, evenly chosen; 0: all.
    """
    strategies, regularizers = methods["pruning strategy"], methods["regularizer"]
    if at_most:
        strategies, regularizers = (names[::max(1, len(names) // at_most)][:at_most] for names in (strategies, regularizers))
    chosen = {f"{strategy}{'_with_' + penalty if penalty != 'NoRegularizer' else ''}": (strategy, penalty)
              for strategy in strategies for penalty in ("NoRegularizer", "Cov")}
    chosen.update({f"only_{penalty}": ("NoPruning", penalty) for penalty in regularizers})
    return chosen


def plugin_text(name):
    return f"{PLUGIN}{name}] {{ {SETTINGS.get(name, ('', 1))[0]} }}"


def methods_config(chosen, network):
    levels = []
    for name, (strategy, penalty) in chosen.items():
        epochs = SETTINGS.get(strategy, ("", 1))[1]
        levels.append(f'  level {{ name: "{name}" patch {{ pruning {{ {plugin_text(strategy)} }} '
                      f"regularization {{ weight: {PENALTY_WEIGHT} regularizer {{ {plugin_text(penalty)} }} }} "
                      f"training {{ epochs: {epochs} }} }} }}")
    return METHODS % (network, "\n".join(levels))


def part_e(part, machine):
    part.check("an epoch by every method", lambda run: every_method(run, machine), limit=0.6 * part.left())
    part.check("steps that wait for the device", lambda run: waiting_steps(run, machine))
    part.check(f"memory over {machine.sizes.recordings} recordings", lambda run: memory_of_recordings(run, machine))


def every_method(run, machine):
    """One epoch of digits by each, on the device, and on the CPU by the plain plan; their losses are compared."""
    methods = list_of_methods(run, machine)
    chosen = combinations(methods, machine.sizes.methods)
    config = machine.scratch / "methods.textproto"
    config.write_text(methods_config(chosen, resnet(8, 8 if machine.sizes.short else 16)))
    outputs = {"device": machine.folder("methods_device"), "cpu": machine.folder("methods_cpu")}
    jobs = min(machine.cores, 12)
    calls = [lambda run: run.call(machine.ablation(config, outputs["device"], jobs, "--threads_per_run=1"), statuses=(0, 1)),
             lambda run: run.call(machine.ablation(config, outputs["cpu"], max(1, machine.cores // 2), "--threads_per_run=1",
                                                   "--override=base { training { skipping: false } }", device="cpu"))]
    run.call_all(calls, at_once=2 if machine.on_gpu else 1)
    return compared_methods(chosen, outputs)


def compared_methods(chosen, outputs):
    faults, differences = [], {}
    for name in chosen:
        records = {side: first_epoch(output / name / "1") for side, output in outputs.items()}
        if records["device"] is None or records["cpu"] is None:
            faults.append(f"{name} has no result")
            continue
        loss, expected = records["device"]["train_loss"], records["cpu"]["train_loss"]
        differences[name] = abs(loss - expected) / expected if loss is not None else math.inf
        if not differences[name] <= LOSS_BAND:
            faults.append(f"{name}: mean loss {loss}, and {expected} on the CPU")
    worst = max(differences, key=differences.get, default=None)
    figure = f"{len(chosen)} combinations; loss off by at most {differences[worst]:.1%} ({worst})" if worst else "none"
    return passed_if(differences and not faults, "; ".join(faults[:4]) or figure,
                     {"faults": faults, "relative_loss_differences": differences})


def first_epoch(folder):
    """The first epoch's record of a run that is done, else None."""
    try:
        if json.loads((folder / "result.json").read_text())["status"] != "done":
            return None
        return json.loads((folder / "epochs.jsonl").read_text().splitlines()[0])
    except (OSError, IndexError):
        return None


def waiting_steps(run, machine):
    """Counts, for each combination, the steps in which the host waits, where the masks do not change."""
    sizes = machine.sizes
    chosen = combinations(list_of_methods(run, machine), sizes.methods)
    network = PLUGIN + "ResNetCifar] { depth: 8 image_size: 8 }"

    def count(strategy, penalty):
        # The benchmark's penalty has a weight by which some would diverge at its own learning rate.
        return lambda run: run.call(machine.step_benchmark(
            "--learning_rate=1e-4",
            f"--network={network}", f"--pruning={plugin_text(strategy)}", f"--regularizer={plugin_text(penalty)}",
            f"--device={machine.device}", "--batch=16", f"--steps={sizes.waiting_steps}", "--threads=1",
            "--count_waits")).last_json()["waits"]

    counted = dict(zip(chosen, run.call_all([count(*pair) for pair in chosen.values()], max(1, machine.cores // 2))))
    if machine.on_gpu:
        return judged_waits(counted)
    counted_all = passed_if(counted and all(waits["steps"] > 0 for waits in counted.values()),
                            f"{len(counted)} combinations were counted", counted)
    return machine.without_meaning(counted_all, "each step there reads its loss")


def judged_waits(counted):
    """Failed where a step waits without a change of the masks; which methods wait at their changes is a figure."""
    wrong = [name for name, waits in counted.items() if waits["waiting_steps_without_update"] > 0 or waits["steps"] == 0]
    at_updates = [name for name, waits in counted.items() if waits["waiting_steps"] > 0 and name not in wrong]
    text = f"{len(counted)} combinations: {len(wrong)} wait in steps without a change of the masks"
    if wrong:
        text += f" ({', '.join(wrong[:4])})"
    return passed_if(counted and not wrong, f"{text}, {len(at_updates)} at changes", {"at_changes": at_updates, **counted})


# What may be held more at the end than after a fifth of the recordings, in bytes.
GROWTH = {"process_bytes": 64 << 20, "reserved_bytes": 32 << 20, "device_bytes": 64 << 20}


def memory_of_recordings(run, machine):
    recordings = machine.sizes.recordings
    every = 5  # steps: three before a recording, and then replays
    printed = run.call(machine.step_benchmark(
        f"--network={PLUGIN}ResNetCifar] {{ depth: 8 image_size: 8 }}", f"--pruning={STATIC}", "--masks=uniform:0.6",
        f"--device={machine.device}", "--batch=16", f"--steps={every * recordings}", "--threads=1",
        f"--new_shapes_every={every}")).last_json()
    if machine.on_gpu and printed["recordings"] < 2 * recordings:
        raise CommandFailed(f"{printed['recordings']} halves of steps were recorded, and not {2 * recordings}")
    return machine.without_meaning(judged_growth(printed["memory"], recordings), "it records nothing")


def judged_growth(memory, recordings):
    """memory: what was held before each recording, in bytes, by kind."""
    if len(memory) < recordings:
        return Outcome(FAIL, f"only {len(memory)} of {recordings} recordings")
    first, last = memory[len(memory) // 5], memory[-1]
    growth = {kind: last[kind] - first[kind] for kind in last}
    figure = ", ".join(f"{kind} {amount / 2**20:+.1f} MiB" for kind, amount in growth.items())
    return passed_if(all(amount <= GROWTH[kind] for kind, amount in growth.items()), figure, {"memory": memory})


# f: times --------------------------------------------------------------------------------------------------------------

TABLE_ROWS = {"cuda": ["dynamic_cov_tf32", "dense_tf32", "dense", "dynamic_cov", "dense_bfloat16", "dynamic_cov_bfloat16"],
              "cpu": ["dense", "dynamic_cov"]}
PACKED_GOAL = 1.0  # seconds an epoch of 50,000 images and a run, of ResNet-56 with masks and penalty, on an H100
EPOCH_STEPS = 391  # of 128 images
PACKED = """
name: "packed"
base {
  network { %s }
  dataset { [type.googleapis.com/prunelab.Synthetic] { train_images: %d test_images: 100 } }
  training { epochs: 3 batch_size: %d checkpoint_every: 0 keep_state: false%s
    sgd { learning_rate: 0.1 momentum: 0.9 weight_decay: 1e-4 } }
  pruning { %s }
  regularization { weight: 0.7 regularizer { %s } }
}
seeds { first: 1 count: %d }
"""


def part_f(part, machine):
    limits = LIMITS if machine.on_gpu else dict.fromkeys(LIMITS)
    # PyTorch's fastest alone, and the others at the end, if time is left: it takes seconds to start.
    fastest = ["--graph", "--no_eager", "--no_compile"] if machine.on_gpu else ["--no_compile"]
    rows = {name: part.check(f"step: {name}", lambda run, name=name: table_row(run, machine, name, fastest), limits["row"])
            for name in TABLE_ROWS[machine.device]}
    part.check("goal: not slower than PyTorch's graph", lambda run: goal_of_a_step(machine, rows))
    jobs = sorted(machine.sizes.jobs, reverse=True)
    packed = [part.check(f"epochs, {count} runs at once{', MPS' if mps else ''}",
                         lambda run, count=count, mps=mps: packed_epochs(run, machine, count, mps), limits["packed"])
              for count in jobs for mps in (True, False)]
    part.check("goal: seconds an epoch and run, packed", lambda run: goal_of_epochs(machine, packed))
    part.check(machine.sizes.large_name, lambda run: large_images(run, machine), limits["large"])
    slower = TABLE_ROWS[machine.device][0]
    part.check(f"step: {slower}, beside eager and torch.compile", lambda run: table_row(run, machine, slower, []))


def table_row(run, machine, name, peer):
    """A row of tools/benchmark/compare.py, whose flags `peer` choose kinds of PyTorch's step. Without torch only this
    project is measured."""
    sizes = machine.sizes
    try:
        torch_facts(run, machine)
    except NotPossible:
        if not peer:
            raise
        peer = ["--no_peer"]
    written = machine.folder("table " + name) / "row.json"
    run.call([sys.executable if peer == ["--no_peer"] else machine.python, machine.compare, f"--rows={name}",
              f"--program={machine.program('step_benchmark')}", f"--device={machine.device}", f"--json={written}",
              f"--threads={min(2, sizes.threads)}", *sizes.table, *peer])
    row = json.loads(written.read_text())[0]
    times = ", ".join(f"PyTorch {kind} {statistics.median(result['milliseconds'] for result in results):.2f}"
                      for kind, results in row["peers"].items() if results)
    return Outcome(PASS, f"{row['milliseconds']:.2f} ms, {times or 'PyTorch is not importable here'}", row)


def goal_of_a_step(machine, rows):
    needs_gpu(machine)
    row = rows["dynamic_cov_tf32"]["figures"]
    if not row.get("peers", {}).get("graph"):
        raise NotPossible("PyTorch's graph was not measured")
    graph = statistics.median(result["milliseconds"] for result in row["peers"]["graph"])
    return passed_if(row["milliseconds"] <= graph, f"{row['milliseconds']:.2f} ms here, {graph:.2f} by PyTorch's graph",
                     {"ratio": graph / row["milliseconds"]})


class MultiProcessService:
    """NVIDIA's service by which processes share a GPU, with folders of its own; it ends with the `with` block."""

    def __init__(self, run, machine):
        self.run, self.control = run, tool("nvidia-cuda-mps-control")
        folder = machine.folder("mps")
        self.environment = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}

    def __enter__(self):
        for path in self.environment.values():
            pathlib.Path(path).mkdir(parents=True)
        self.run.call([self.control, "-d"], environment=self.environment, limit=20)
        return self.environment

    def __exit__(self, *_):
            subprocess.run([self.control], input="quit\n", env={**self.run.environment, **self.environment}, text=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20)


def packed_epochs(run, machine, count, mps):
    if not mps:
        return timed_epochs(run, machine, count, {})
    needs_gpu(machine)
    with MultiProcessService(run, machine) as environment:
        return timed_epochs(run, machine, count, environment)


def timed_epochs(run, machine, count, environment):
    """Trains `count` runs at once. Seconds are those of an epoch of EPOCH_STEPS steps, divided by the number of runs."""
    sizes = machine.sizes
    if count > machine.cores:
        raise NotPossible(f"this machine has {machine.cores} cores")
    output = machine.folder("packed") / "out"
    config = machine.scratch / "packed.textproto"
    config.write_text(PACKED % (sizes.packed_network, sizes.packed_steps * sizes.packed_batch, sizes.packed_batch,
                                " precision: TF32" if machine.on_gpu else "", DYNAMIC, COV, count))
    run.call(machine.ablation(config, output, count, "--threads_per_run=1"), environment)
    runs = [[json.loads(line)["seconds"] for line in path.read_text().splitlines()]
            for path in output.glob("**/timing.jsonl")]
    if len(runs) != count:
        raise CommandFailed(f"{len(runs)} of {count} runs have times")
    # The first epoch has the recording in it, and the last is also evaluated and written.
    seconds = statistics.mean(epochs[1] for epochs in runs) * EPOCH_STEPS / sizes.packed_steps / count
    return Outcome(PASS, f"{seconds:.2f} s an epoch of {EPOCH_STEPS} steps and a run", {"seconds_each": seconds, "runs": runs})


def goal_of_epochs(machine, packed):
    needs_gpu(machine)
    found = [check["figures"]["seconds_each"] for check in packed if "seconds_each" in check["figures"]]
    if not found:
        raise NotPossible("no epoch was timed")
    return passed_if(min(found) <= PACKED_GOAL, f"{min(found):.2f} s at best, and the goal on an H100 is {PACKED_GOAL} s")


def large_images(run, machine):
    printed = call_step_benchmark(
        run, machine, f"--network={PLUGIN}ResNetImageNet] {{ {machine.sizes.large_network} }}",
        f"--device={machine.device}", f"--precision={'tf32' if machine.on_gpu else 'float32'}",
        f"--threads={machine.sizes.threads}", *machine.sizes.large).last_json()
    return passed_if(printed["images_per_second"] > 0,
                     f"{printed['images_per_second']:.0f} images/s at batch {printed['batch']}, {printed['precision']}",
                     printed)


# g: an ablation --------------------------------------------------------------------------------------------------------


def part_g(part, machine):
    part.check("the digits' ablation", lambda run: digits(run, machine))


def digits(run, machine):
    """The ablation of the README on the device and on the CPU: every run done, a report, and accuracies within noise."""
    outputs = {"device": machine.folder("digits_device"), "cpu": machine.folder("digits_cpu")}
    config = machine.configs / "digits.textproto"

    def call(side, jobs, training, **device):
        return lambda run: run.call(machine.ablation(
            config, outputs[side], jobs, "--threads_per_run=1", *machine.sizes.digits,
            f"--override=base {{ training {{ {machine.sizes.digits_training}{training}}} }}", **device))

    calls = [call("device", min(machine.cores, 8), ""), call("cpu", machine.cores, "skipping: false ", device="cpu")]
    run.call_all(calls, at_once=2 if machine.on_gpu else 1)
    missing = [name for name in ("report.html", "summary.md", "comparisons.json") if not (outputs["device"] / name).exists()]
    if missing:
        raise CommandFailed(f"the ablation wrote no {missing[0]}")
    return compared_accuracy(*(read_results(outputs[side] / "results.csv") for side in ("device", "cpu")),
                             machine.sizes.accuracy_band)


def read_results(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def compared_accuracy(device, cpu, band):
    """device, cpu: rows of results.csv. An arm's mean accuracies may differ by `band`, or by four standard errors; the
    shares of masked filters must be equal. Runs that were asked for on neither side are "missing" there."""
    faults, figures = [], {}
    device, cpu = ([row for row in rows if row["status"] != "missing"] for rows in (device, cpu))
    arms = sorted({row["arm"] for row in device + cpu})
    for arm in arms:
        ours, theirs = ([row for row in rows if row["arm"] == arm] for rows in (device, cpu))
        if len(ours) != len(theirs) or any(row["status"] != "done" for row in ours + theirs):
            faults.append(f"{arm}: not all runs are done")
            continue
        tops = [[float(row["test_top1"]) for row in rows] for rows in (ours, theirs)]
        error = math.sqrt(sum(statistics.variance(top) / len(top) for top in tops)) if len(tops[0]) > 1 else 0
        difference = statistics.mean(tops[0]) - statistics.mean(tops[1])
        figures[arm] = {"device": tops[0], "cpu": tops[1], "difference": difference, "allowed": max(band, 4 * error)}
        if not abs(difference) <= figures[arm]["allowed"]:
            faults.append(f"{arm}: accuracy differs by {100 * difference:+.1f} points")
        if sorted(row["filter_sparsity"] for row in ours) != sorted(row["filter_sparsity"] for row in theirs):
            faults.append(f"{arm}: another share of filters is masked")
    worst = max((abs(figure["difference"]) for figure in figures.values()), default=math.nan)
    return passed_if(arms and not faults, "; ".join(faults[:4]) or f"{len(device)} runs in {len(arms)} arms; mean accuracy "
                     f"differs by at most {100 * worst:.1f} points", {"faults": faults, **figures})


# The program -----------------------------------------------------------------------------------------------------------

PARTS = {"a": ("what is there", part_a), "b": ("kernels", part_b), "c": ("steps against the CPU", part_c),
         "d": ("bit for bit", part_d), "e": ("every method", part_e), "f": ("times", part_f), "g": ("an ablation", part_g)}


def parse(arguments):
    parser = command_line.Parser(prog="gpu_check", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, as in a,c; default: all")
    parser.add_argument("--minutes", type=float, default=9, help="for all parts together")
    parser.add_argument("--short", action="store_true", help="little work for each check, to try the script itself")
    parser.add_argument("--json", default="gpu_check.json", help="the file for the figures")
    parser.add_argument("--resume", action="store_true", help="keeps the checks that the file has")
    parser.add_argument("--programs", help="folders with the programs, separated by commas")
    parser.add_argument("--tests", help="test programs, or folders with them, separated by commas")
    parser.add_argument("--python", default=sys.executable, help="that has torch, for PyTorch's side")
    parsed = parser.parse_args(arguments)
    parsed.parts = parsed.parts.split(",")
    unknown = [part for part in parsed.parts if part not in PARTS]
    if unknown:
        parser.error(f"--parts: there is no {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    if not parsed.minutes > 0:
        parser.error(f"--minutes={parsed.minutes}: must be above 0")
    return parser, parsed


def say(line):
    print(line, flush=True)


def main(arguments=None):
    parser, arguments = parse(arguments)
    begin = time.monotonic()
    about = {"device": arguments.device, "short": arguments.short}
    try:
        ledger = Ledger(command_line.user_path(arguments.json), arguments.resume, about)
        ledger.about.setdefault("began", time.strftime("%Y-%m-%d %H:%M:%S %z"))
        ledger.write()
    except (OSError, ValueError) as error:
        parser.error(f"--json: {error}")
    with tempfile.TemporaryDirectory(prefix="gpu_check.") as scratch:
        machine = Machine(arguments, scratch)
        weights = {name: weight for name, weight in (SHORT_WEIGHTS if arguments.short else WEIGHTS).items()
                   if name in arguments.parts}
        for name in weights:
            title, make = PARTS[name]
            left = 60 * arguments.minutes - (time.monotonic() - begin)
            part = Part(name, title, part_seconds(left, weights, name), ledger, machine.environment, say)
            say(f"-- {name}: {title} (at most {part.seconds:.0f} s)")
            part.contain(lambda: make(part, machine))
    if not machine.on_gpu:
        say("This was the form for a CPU: it shows that the script and the programs work, and nothing about a GPU.")
    say(f"{ledger.closing_line()} ({time.monotonic() - begin:.0f} s; {arguments.json})")
    return 1 if ledger.failed() else 0


if __name__ == "__main__":
    sys.exit(command_line.status_of(main))
