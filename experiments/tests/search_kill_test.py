#!/usr/bin/env python3
"""A search that is killed again and again, or shared by several processes, ends with the undisturbed one's decisions.

Usage: search_kill_test.py ABLATION. Thirty trials; coordinators and workers are killed by SIGKILL at random moments.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from small_ablation import Checks, children  # noqa: E402

TRIALS, KILLS = 30, 10

CONFIG = """
name: "search"
base {
  network { [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 4 } }
  dataset { [type.googleapis.com/prunelab.Digits] {} }
  training {
    epochs: 9
    batch_size: 128
    sgd { momentum: 0.9 weight_decay: 1e-4 }
    schedule { cosine {} }
    validation_fraction: 0.2
    checkpoint_minutes: 0.002
  }
  pruning { [type.googleapis.com/prunelab.DynamicL1] {} }
}
search {
  trials: %d
  parallel: 4
  parameter { field: "training.sgd.learning_rate" log_uniform { from: 0.001 to: 1 } }
  parameter { field: "pruning.rate" uniform { from: 0.2 to: 0.8 } }
  parameter { name: "importance" choice {
    level { name: "l1" }
    level { name: "gradient" patch { pruning { [type.googleapis.com/prunelab.DynamicL1] {
      importance: WEIGHT_TIMES_GRADIENT } } } } } }
}
seeds { count: 1 }
""" % TRIALS

# What must not depend on how the search was disturbed. (results.csv has times.)
TOP = ("search.json", "best.textproto", "ablation.textproto", "planned.textproto")
OF_RUN = ("epochs.jsonl", "result.json", "last.safetensors", "config.textproto")


def files(output):
    found = {name: (output / name).read_bytes() for name in TOP}
    for trial in range(TRIALS):
        for name in OF_RUN:
            path = "trial_%03d/1/%s" % (trial, name)
            found[path] = (output / path).read_bytes() if (output / path).exists() else None
    return found


def differences(output, reference):
    ours, theirs = files(output), files(reference)
    return ", ".join(name for name in theirs if ours[name] != theirs[name])


def epochs_trained(output):
    """The number of lines of timing.jsonl, of all attempts."""
    return sum(len(path.read_text().splitlines()) for path in output.glob("trial_*/1/timing.jsonl"))


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR")))
    config = folder / "search.textproto"
    config.write_text(CONFIG)
    draw = random.Random(int(os.environ.get("KILL_TEST_SEED", "1")))
    checks = Checks("search_kill_test")

    def start(output, *flags):
        return subprocess.Popen([str(program), "--config=%s" % config, "--output=%s" % output, "--device=cpu",
                                 "--threads_per_run=1", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    reference = folder / "undisturbed"
    process = start(reference, "--jobs=2")
    out, err = process.communicate()
    checks.check("the undisturbed search ends well", "" if process.returncode == 0 else err[-2000:])
    outcome = json.loads((reference / "search.json").read_text())
    began = {job["trial"] for job in outcome["jobs"]}
    on = sum(job["epochs"] > 1 for job in outcome["jobs"])
    checks.check("it begins all trials and trains some on", "" if len(began) == TRIALS and on >= 8
                 else "%d begun, %d on" % (len(began), on))
    checks.check("it names the best one", "" if outcome["over"] and outcome["best"] and "the best is %s (" % outcome["best"] in out
                 else str(outcome["best"]))

    # Every epoch of its records was trained once.
    wanted = sum(len(path.read_text().splitlines()) for path in reference.glob("trial_*/1/epochs.jsonl"))
    checks.check("%d epochs trained for %d" % (epochs_trained(reference), wanted),
                 "" if epochs_trained(reference) == wanted else "too many or too few")

    # Another number of runs at once, which end in another order.
    output = folder / "one_job"
    process = start(output, "--jobs=1")
    _, err = process.communicate()
    checks.check("with one run at once it ends well", "" if process.returncode == 0 else err[-2000:])
    checks.check("and alike", differences(output, reference))

    kills, rounds = 0, 0
    while kills < KILLS and rounds < 8:  # on a fast machine a search may be over before; then it is killed sooner
        rounds += 1
        output = folder / ("killed%d" % rounds)
        kills, over = 0, False
        while kills < KILLS and not over:
            process = start(output, "--jobs=2")
            deadline = time.monotonic() + draw.uniform(0.8, 1.6) * 0.8 ** (rounds - 1)
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            over = process.poll() is not None
            if not over:
                victim = draw.choice([process.pid] * 2 + children(process.pid))
                try:
                    os.kill(victim, signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    pass
                if victim != process.pid:  # its run is tried again; then all of it is killed
                    time.sleep(draw.uniform(0.2, 1))
                    process.kill()
            process.communicate()
        process = start(output, "--jobs=2")
        _, err = process.communicate()
        name = "round %d, killed %d times: " % (rounds, kills)
        checks.check(name + "it ends well", "" if process.returncode == 0 else err[-2000:])
        checks.check(name + "with every file of the undisturbed search", differences(output, reference))
        trained = epochs_trained(output)
        checks.check(name + "%d epochs trained for %d" % (trained, wanted),
                     "" if wanted <= trained <= wanted + 4 * kills else "too many or too few")
    checks.check("one search was killed %d times" % kills, "" if kills >= KILLS else "too few")

    # Two processes with one folder, as on two machines; one is killed in the middle and comes back.
    output = folder / "shared"
    first, second = (start(output, "--jobs=1", "--shard=%d/2" % shard) for shard in (0, 1))
    time.sleep(6)
    second.kill()
    second.communicate()
    time.sleep(1)
    second = start(output, "--jobs=1", "--shard=1/2")
    for name, process in (("first", first), ("second", second)):
        _, err = process.communicate()
        checks.check("the %s of two shards ends well" % name, "" if process.returncode == 0 else err[-2000:])
    checks.check("together they leave the undisturbed search's files", differences(output, reference))
    trained = epochs_trained(output)
    checks.check("both trained: %d epochs for %d" % (trained, wanted),
                 "" if wanted <= trained <= wanted + 8 else "too many or too few")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
