#!/usr/bin/env python3
"""An ablation that is killed again and again ends with the files of an undisturbed one.

Usage: kill_test.py ABLATION SHIM. Kills coordinator or worker by SIGKILL at random moments, and, through kill_shim.cc, in
the middle of writes, renames and syncs.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from small_ablation import Checks, SmallAblation, children  # noqa: E402

KILLS, KILLS_OUTSIDE, KILLS_IN_WRITES = 50, 20, 10


def command_line(process):
    """Of a process by its number; nothing of one that has ended."""
    try:
        return pathlib.Path("/proc", process, "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def main():
    program, shim = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
    seed = int(os.environ.get("KILL_TEST_SEED", "1"))
    draw = random.Random(seed)
    # Checkpoints every few steps, in addition to those at the ends of epochs.
    ablation = SmallAblation(program, folder, epochs=12, seeds=2, minutes="0.002")
    flags = ("--jobs=2", "--threads_per_run=1")
    checks = Checks("kill_test")
    reference = os.path.join(folder, "undisturbed")
    status, _, err = ablation.run(reference, *flags)
    checks.check("the undisturbed ablation ends well", "" if status == 0 else err[-2000:])

    # In a build with the address sanitizer its runtime must be loaded first.
    linked = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True).stdout
    preload = [line.split()[2] for line in linked.splitlines() if "libasan" in line] + [str(shim)]

    log = pathlib.Path(folder, "kills.log")
    log.touch()
    shim_kills = lambda: len(log.read_text().splitlines())
    written_name = lambda line: os.path.basename(line.split()[1]).split(".tmp.")[0]
    # A checkpoint or a record: what a run resumes from and is judged by.
    records = ("checkpoint.safetensors", "epochs.jsonl", "timing.jsonl", "result.json")
    kills_in_writes = lambda: sum(not line.startswith("unlink ") and written_name(line) in records
                                  for line in log.read_text().splitlines())

    def shim_environment(output, role, at, name=None):
        token = pathlib.Path(folder, "token")
        token.touch()
        environment = {"KILL_TOKEN": str(token), "LD_PRELOAD": ":".join(preload), "KILL_FOLDER": output, "KILL_ROLE": role,
                       "KILL_LOG": str(log), "KILL_AT": str(at)}
        return {**environment, "KILL_NAME": name} if name else environment

    # An epoch that is whole in a checkpoint but not yet in the records: each is trained once and has one line of times.
    # With a checkpoint after every step, the kill in the first record's write falls there.
    stepwise = SmallAblation(program, os.path.join(folder, "stepwise"), epochs=3, seeds=1, minutes="1e-9")
    output = os.path.join(folder, "before_record")
    one = ("--arms=dynamic_l1/cov", "--jobs=1", "--threads_per_run=1", "--retries=1")
    status, _, err = stepwise.run(output, *one, env=shim_environment(output, "worker", 1, "epochs.jsonl"))
    problem = "" if status == 0 and shim_kills() == 1 else "status %d, %d kills: %s" % (status, shim_kills(), err[-2000:])
    checks.check("killed before an epoch's record, the run ends well", problem)
    epochs = [json.loads(line)["epoch"] for line in
              pathlib.Path(output, "dynamic_l1/cov/1/timing.jsonl").read_text().splitlines()]
    checks.check("each of its epochs has a line of time", "" if epochs == [0, 1, 2] else str(epochs))

    # A worker that dies after its run's result, when its checkpoints are removed: nothing is trained again.
    output = os.path.join(folder, "behind_result")
    short = SmallAblation(program, os.path.join(folder, "short"), epochs=1, seeds=1)
    before = shim_kills()
    status, _, err = short.run(output, *one, env=shim_environment(output, "worker", 1, "checkpoint.previous.safetensors"))
    problem = "" if status == 0 and shim_kills() == before + 1 else "status %d, %d kills: %s" % (
        status, shim_kills() - before, err[-2000:])
    checks.check("killed behind its result, the run is done", problem)
    lines = pathlib.Path(output, "dynamic_l1/cov/1/timing.jsonl").read_text().splitlines()
    checks.check("its one epoch was trained once", "" if len(lines) == 1 else str(lines))

    # One that dies before that, alone or with its coordinator: they are still removed, except for what is kept.
    output = os.path.join(folder, "in_removal")
    run_folder = pathlib.Path(output, "dynamic_l1/cov/1")
    left = lambda: ", ".join(str(path) for path in run_folder.glob("checkpoint*"))
    run_folder.mkdir(parents=True)
    previous = run_folder / "checkpoint.previous.safetensors"
    previous.write_bytes(b"of an earlier attempt")
    before = shim_kills()
    status, _, err = short.run(output, *one, env=shim_environment(output, "worker", 1, "state.safetensors"))
    problem = "" if status == 0 and shim_kills() == before + 1 else "status %d, %d kills: %s" % (
        status, shim_kills() - before, err[-2000:])
    checks.check("killed before its checkpoints' removal, the run is done", problem)
    checks.check("none of them is left", left())
    checks.check("and its state is kept", "" if (run_folder / "state.safetensors").exists() else "it is not")
    previous.write_bytes(b"of an earlier attempt")
    status, _, err = short.run(output, *one)
    checks.check("a call that finds the run done ends well", "" if status == 0 else err[-2000:])
    checks.check("and removes what its process left", left())

    # A run that is trained further, killed while that is prepared, in its middle, and while its files take the places of
    # the old ones: it ends with the files of one that had all epochs from the start, and until then there is a result.
    longer = SmallAblation(program, os.path.join(folder, "longer"), epochs=3, seeds=1)
    whole, first = (pathlib.Path(folder, name) for name in ("further_from_start", "further_first"))
    status, _, err = longer.run(whole, *one)
    checks.check("the longer run ends well", "" if status == 0 else err[-2000:])
    status, _, err = short.run(first, *one)
    checks.check("the shorter run ends well", "" if status == 0 else err[-2000:])
    run = "dynamic_l1/cov/1"
    old, new = ((path / run / "result.json").read_bytes() for path in (first, whole))
    for name, at in (("timing.jsonl", 1), ("checkpoint.safetensors", 3), ("config.textproto", 2), ("config.textproto", 8),
                     ("epochs.jsonl", 3), ("provenance.json", 7), ("last.safetensors", 4), ("result.json", 2),
                     ("result.json", 5), ("result.json", 7), ("state.safetensors", 1), ("state.safetensors", 3),
                     ("state.safetensors", 4)):
        case = "killed in operation %d on %s while it is trained further: " % (at, name)
        output = pathlib.Path(folder, "further_%s_%d" % (name, at))
        shutil.copytree(first, output)
        before = shim_kills()
        longer.run(output, *one, "--retries=0", env=shim_environment(str(output), "worker", at, name))
        checks.check(case + "it was", "" if shim_kills() == before + 1 else "%d kills" % (shim_kills() - before))
        checks.check(case + "there is a result", "" if (output / run / "result.json").read_bytes() in (old, new) else "no")
        status, _, err = longer.run(output, *one)
        differ = [file for file in ("last.safetensors", "epochs.jsonl", "result.json", "config.textproto",
                                    "state.safetensors")
                  if (output / run / file).read_bytes() != (whole / run / file).read_bytes()]
        names = lambda path: {p.name for p in (path / run).iterdir() if not p.name.startswith("events.")}
        left_over = names(output) ^ names(whole)
        checks.check(case + "the next call ends with the longer run's files",
                     "" if status == 0 and not differ and not left_over
                     else "%d %s %s %s" % (status, differ, left_over, err[-2000:]))

    log.write_text("")
    outside, round_number = 0, 0
    enough = lambda: (outside + shim_kills() >= KILLS and outside >= KILLS_OUTSIDE and
                      kills_in_writes() >= KILLS_IN_WRITES)
    while not enough():
        round_number += 1
        output = os.path.join(folder, "disturbed%d" % round_number)
        kills_before = outside + shim_kills()
        finished = False
        while not finished and not enough():
            env, patience = {}, draw.uniform(0.5, 4.0)
            if draw.random() < 0.7:  # in the middle of a write, which a slow machine reaches later
                patience += 6
                role = draw.choice(["worker", "worker", "coordinator"])
                name = draw.choice([None, *records]) if role == "worker" else None
                env = shim_environment(output, role, draw.randint(1, 6 if name else 30 if role == "worker" else 12), name)
            # A call has one kill in a write. The next one should come soon, but some coordinators survive it.
            before = shim_kills() if draw.random() < 0.7 else KILLS * KILLS
            process = ablation.start(output, *flags, env=env)
            deadline = time.monotonic() + patience
            while process.poll() is None:
                time.sleep(0.01)
                struck = shim_kills() > before
                if deadline and (struck or time.monotonic() > deadline):
                    workers = children(process.pid)
                    victim = draw.choice([process.pid] + (0 if struck else 2) * workers)
                    try:
                        os.kill(victim, signal.SIGKILL)
                        outside += 1
                    except ProcessLookupError:
                        pass
                    deadline = None if victim == process.pid else time.monotonic() + draw.uniform(0.2, 1.5)
            process.communicate()
            finished = process.returncode == 0
            # Workers die with their coordinator; until then they hold the locks on their runs.
            while any(str(output).encode() in command_line(p) for p in os.listdir("/proc") if p.isdigit()):
                time.sleep(0.01)
        status, _, err = ablation.run(output, *flags)
        kills = outside + shim_kills() - kills_before
        name = "round %d, killed %d times" % (round_number, kills)
        checks.check("%s: the last call ends well" % name, "" if status == 0 else err[-2000:])
        checks.check("%s: every file is the undisturbed one's" % name, ", ".join(ablation.differences(output, reference)))
        # Runs really resume: a kill costs at most the current epoch, and only if that was partly trained.
        trained, wanted = ablation.epochs_trained(output), len(ablation.runs()) * ablation.epochs
        checks.check("%s: %d epochs trained for %d" % (name, trained, wanted),
                     "" if wanted <= trained <= wanted + kills else "too many or too few")
    checks.check("%d kills" % (outside + shim_kills()), "" if outside + shim_kills() >= KILLS else "too few")
    checks.check("%d of them in a checkpoint's or record's write" % kills_in_writes(),
                 "" if kills_in_writes() >= KILLS_IN_WRITES else "too few")
    print("kills in writes:", *sorted({line.split()[0] + " " + written_name(line)
                                       for line in log.read_text().splitlines()}), sep="\n  ")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
