"""A small ablation for the tests that disturb it, and a check of what must be equal afterwards."""

import csv
import os
import pathlib
import subprocess
import time

CONFIG = """
name: "small"
base {
  network { [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 8 } }
  dataset { [type.googleapis.com/prunelab.Digits] {} }
  training {
    epochs: EPOCHS
    batch_size: 64
    sgd { learning_rate: 0.05 momentum: 0.9 weight_decay: 1e-4 }
    random_crop_padding: 1
    checkpoint_minutes: MINUTES
  }
}
factor { name: "pruning"
  level { name: "none" }
  level { name: "dynamic_l1" patch { pruning { [type.googleapis.com/prunelab.DynamicL1] {
    rate: 0.6 importance: WEIGHT_TIMES_GRADIENT } } } }
  level { name: "static" patch { pruning { [type.googleapis.com/prunelab.Static] { rate: 0.6 epoch: 2 } } } }
  level { name: "unstructured" patch { pruning { [type.googleapis.com/prunelab.Unstructured] {
    rate: 0.6 gradual { end_epoch: 3 period: 5 } } } } } }
factor { name: "regularizer"
  level { name: "none" }
  level { name: "cov" patch { regularization { weight: 0.5
    regularizer { [type.googleapis.com/prunelab.Cov] {} } } } } }
seeds { count: SEEDS }
"""
ARMS = [p + "/" + r for p in ("none", "dynamic_l1", "static", "unstructured") for r in ("none", "cov")]


def wait_for(condition, seconds=120, pause=0.01):
    """Whether a condition came true within so many seconds; it is looked at again after each pause."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


class SmallAblation:
    """The config in its own folder, and the program to run it."""

    def __init__(self, program, folder, epochs, seeds, minutes="10"):
        self.program = pathlib.Path(program).resolve()
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.epochs, self.seeds = epochs, seeds
        self.config = self.folder / "small.textproto"
        text = CONFIG.replace("EPOCHS", str(epochs)).replace("SEEDS", str(seeds)).replace("MINUTES", minutes)
        self.config.write_text(text)

    def command(self, output, *flags):
        return [str(self.program), "--config=%s" % self.config, "--output=%s" % output, "--device=cpu", *flags]

    def start(self, output, *flags, env=None, **kwargs):
        return subprocess.Popen(self.command(output, *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                errors="surrogateescape",
                                env={**os.environ, **(env or {})}, **kwargs)

    def run(self, output, *flags, **kwargs):
        """Status, standard output and standard error of a call that runs to its end."""
        process = self.start(output, *flags, **kwargs)
        out, err = process.communicate()
        return process.returncode, out, err

    def runs(self):
        return ["%s/%d" % (arm, seed) for arm in ARMS for seed in range(1, self.seeds + 1)]

    def differences(self, output, reference):
        """The results that differ from the reference's, byte for byte, without times."""
        found = []
        for run in self.runs():
            for name in ("last.safetensors", "epochs.jsonl", "result.json"):
                a, b = pathlib.Path(output, run, name), pathlib.Path(reference, run, name)
                if not a.exists() or a.read_bytes() != b.read_bytes():
                    found.append("%s/%s" % (run, name))
            left = [p.name for p in pathlib.Path(output, run).iterdir() if "checkpoint" in p.name or ".tmp." in p.name]
            found += ["%s/%s was left behind" % (run, name) for name in left]
        if table(output) != table(reference):
            found.append("results.csv")
        return found

    def epochs_trained(self, output):
        """The number of lines of timing.jsonl, of all attempts."""
        return sum(len(pathlib.Path(output, run, "timing.jsonl").read_text().splitlines()) for run in self.runs())


def table(output):
    rows = list(csv.DictReader(pathlib.Path(output, "results.csv").open()))
    for row in rows:
        del row["seconds"], row["images_per_second"]
    return rows


def children(pid):
    """The process numbers of a coordinator's workers."""
    try:
        return [int(p) for p in pathlib.Path("/proc/%d/task/%d/children" % (pid, pid)).read_text().split()]
    except OSError:
        return []


class Checks:
    """Counts test cases, and prints at the end what Bazel's log should show."""

    def __init__(self, name):
        self.name, self.cases = name, []

    def check(self, case, problem):
        self.cases.append((case, problem))
        print("%s %s%s" % ("FAIL" if problem else "ok", case, ": %s" % problem if problem else ""), flush=True)

    def finish(self):
        failed = [c for c in self.cases if c[1]]
        path = os.environ.get("XML_OUTPUT_FILE")
        if path:
            escape = lambda s: str(s).replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
            with open(path, "w") as file:
                file.write('<testsuites><testsuite name="%s" tests="%d" failures="%d">' %
                           (self.name, len(self.cases), len(failed)))
                for case, problem in self.cases:
                    file.write('<testcase name="%s">%s</testcase>' % (
                        escape(case), '<failure message="%s"/>' % escape(problem) if problem else ""))
                file.write("</testsuite></testsuites>")
        return 1 if failed else 0
