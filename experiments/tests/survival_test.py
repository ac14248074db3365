#!/usr/bin/env python3
"""What else can happen to an ablation: full disk, damage, two owners, shards, crashes, being asked to stop.

Usage: survival_test.py ABLATION. (kill_test.py has SIGKILL.)
"""

import collections
import ctypes
import fcntl
import os
import pathlib
import pty
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from small_ablation import ARMS, Checks, SmallAblation, children, table, wait_for  # noqa: E402

ONE_RUN = ("--arms=dynamic_l1/cov", "--seeds=1", "--jobs=1", "--threads_per_run=1")
RUN = "dynamic_l1/cov/1"
# A build with sanitizers would handle a SIGSEGV itself, as a fault in the program, and end with a status.
NO_HANDLERS = {name: os.environ.get(name, "") + ":handle_segv=0" for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS")}


def run_under_way(worker):
    """The folder of the run that a worker has locked; None before it has locked one."""
    links = [os.readlink(fd) for fd in pathlib.Path("/proc/%d/fd" % worker).iterdir()]
    return next((pathlib.Path(link).parent for link in links if link.endswith("/.lock")), None)


def waits_for_others(process, output):
    """Whether a shard has its lock in `output` and has slept for half a second, as it does between looks at what other
    processes train."""
    for _ in range(10):
        try:
            links = [os.readlink(fd) for fd in pathlib.Path("/proc/%d/fd" % process).iterdir()]
        except FileNotFoundError:
            return False  # one was closed meanwhile
        state = pathlib.Path("/proc/%d/stat" % process).read_text().rsplit(")", 1)[1].split()[0]
        if state != "S" or not any(link.startswith("%s/.lock." % output) for link in links):
            return False
        time.sleep(0.05)
    return True


def crash_a_worker(coordinator, by=signal.SIGSEGV):
    """Ends a worker by a signal in the middle of its run. It is stopped first: a worker that has already ended (and was not
    waited for yet) ignores signals, and after a run's result a crash changes nothing."""

    def crashed():
        for worker in children(coordinator):
            try:
                os.kill(worker, signal.SIGSTOP)
                state = lambda: pathlib.Path("/proc/%d/stat" % worker).read_text().rsplit(")", 1)[1].split()[0]
                if wait_for(lambda: state() in "TZX", 5) and state() == "T":
                    run = run_under_way(worker)
                    crash = run is not None and not (run / "result.json").exists()
                    if crash:
                        os.kill(worker, by)
                    os.kill(worker, signal.SIGCONT)
                    if crash:
                        return True
            except (FileNotFoundError, ProcessLookupError):
                pass
        return False

    return wait_for(crashed)


def starve_a_worker(coordinator):
    """Leaves a worker that is being started less memory than its libraries need."""

    def starved():
        for worker in children(coordinator):
            try:
                if b"--worker" in pathlib.Path("/proc/%d/cmdline" % worker).read_bytes():
                    resource.prlimit(worker, resource.RLIMIT_AS, (1 << 28, 1 << 28))
                    return True
            except (FileNotFoundError, ProcessLookupError):
                pass
        return False

    return wait_for(starved)


def claim_a_core(cores):
    """One of `cores` and the socket that claims it while it is open, as soon as one is free; else None."""
    claims = []

    def claimed():
        for core in cores:
            claim = socket.socket(socket.AF_UNIX)
            try:
                claim.bind("\0prunelab.core.%d" % core)
            except OSError:
                claim.close()
                continue
            claims.append((core, claim))
            return True
        return False

    return claims[0] if wait_for(claimed) else None


def bound_by_modes():
    """Drops CAP_DAC_OVERRIDE for what is executed next, so that the modes of files also apply to root."""
    if os.geteuid() == 0:
        drop, dac_override = 24, 1  # PR_CAPBSET_DROP
        if ctypes.CDLL(None, use_errno=True).prctl(drop, dac_override, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def same_run(output, reference):
    names = ("last.safetensors", "epochs.jsonl", "result.json")
    differ = [n for n in names
              if pathlib.Path(output, RUN, n).read_bytes() != pathlib.Path(reference, RUN, n).read_bytes()]
    return "%s differ" % differ if differ else ""


def main():
    folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR")))
    ablation = SmallAblation(sys.argv[1], folder, epochs=4, seeds=2)
    checks = Checks("survival_test")
    reference = folder / "reference"
    both = ("--jobs=2", "--threads_per_run=1")
    status, out, err = ablation.run(reference, *both)
    checks.check("the undisturbed ablation ends well", "" if status == 0 else err[-2000:])
    status, out, err = ablation.run(reference, *both)
    checks.check("a second call says that all is done",
                 "" if status == 0 and "All 16 runs were done already." in out else out + err)

    # A run that was stopped after two epochs, with its two checkpoints, which are damaged in various ways.
    left = folder / "left"
    process = ablation.start(left, *ONE_RUN)
    both_checkpoints = lambda: (left / RUN / "checkpoint.previous.safetensors").exists()
    wait_for(both_checkpoints)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    checks.check("SIGTERM ends it with status 143 and says how to go on",
                 "" if process.returncode == 143 and "same command goes on" in err else "%s %s" % (process.returncode, err))
    checks.check("and leaves a checkpoint, but no result",
                 "" if both_checkpoints() and not (left / RUN / "result.json").exists() else "it does not")

    def damaged(case, damage, expected_warning=""):
        output = folder / "damaged"
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(left, output)
        damage(output / RUN)
        status, _, err = ablation.run(output, *ONE_RUN)
        problem = "" if status == 0 else "status %d: %s" % (status, err[-1000:])
        if expected_warning not in err:
            problem += "no %r in %s" % (expected_warning, err[-1000:])
        checks.check(case, problem or same_run(output, reference))
        return output

    output = damaged("it goes on to the same bits", lambda run: None)
    lines = len((output / RUN / "timing.jsonl").read_text().splitlines())
    checks.check("having trained each epoch once but for the one it was stopped in", "" if 4 <= lines <= 5 else str(lines))

    def flip(name, place):
        def damage(run):
            data = bytearray((run / name).read_bytes())
            data[int(place * (len(data) - 1))] ^= 0x10
            (run / name).write_bytes(data)
        return damage

    for place in (0, 0.02, 0.5, 1):
        damaged("a checkpoint damaged at %g of it: said, and the one before is used" % place,
                flip("checkpoint.safetensors", place), "it is passed over")
    damaged("a checkpoint cut short", lambda run: os.truncate(run / "checkpoint.safetensors", 5000), "it is passed over")

    def both_bad(run):
        flip("checkpoint.safetensors", 0.4)(run)
        flip("checkpoint.previous.safetensors", 0.4)(run)

    damaged("both checkpoints damaged: from the start", both_bad, "it is passed over")
    for cut in (1, 2, 40, 300):
        def tear(run, cut=cut):
            for name in ("epochs.jsonl", "timing.jsonl"):
                size = (run / name).stat().st_size
                os.truncate(run / name, max(0, size - cut))
        damaged("records torn %d bytes before their end" % cut, tear)
    damaged("a record changed by hand", flip("epochs.jsonl", 0.3))

    # A disk that is full: no file may grow beyond 64 KiB.
    output = folder / "full"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
    status, _, err = ablation.run(output, *ONE_RUN, preexec_fn=limit)
    checks.check("a full disk is an error that says what to do",
                 "" if status == 1 and "make room and run the same command again" in err else "%d %s" % (status, err))
    status, _, err = ablation.run(output, *ONE_RUN)
    checks.check("with room it goes on", ("" if status == 0 else err) or same_run(output, reference))

    # Folders that cannot be written to: from the start, and from the middle of a run on.
    parent = folder / "read_only"
    parent.mkdir(mode=0o555)
    status, _, err = ablation.run(parent / "output", *ONE_RUN, preexec_fn=bound_by_modes)
    checks.check("a read-only folder is refused with what to do, and nothing is made",
                 "" if status == 2 and "check who may write there" in err and not list(parent.iterdir())
                 else "%d %s" % (status, err))
    output = folder / "becomes_read_only"
    process = ablation.start(output, *ONE_RUN, preexec_fn=bound_by_modes)
    wait_for(lambda: (output / RUN / "checkpoint.safetensors").exists())
    (output / RUN).chmod(0o555)
    _, err = process.communicate()
    (output / RUN).chmod(0o755)
    checks.check("one that becomes read-only too",
                 "" if process.returncode == 1 and "check who may write there" in err
                 else "%d %s" % (process.returncode, err))
    status, _, err = ablation.run(output, *ONE_RUN)
    checks.check("when it can be written the run goes on", ("" if status == 0 else err) or same_run(output, reference))

    # The folder vanishes: it is removed, or moved away with the lock on it. Nothing is created in its place.
    def remove(path):
        while path.exists():  # workers may create files in the meantime
            shutil.rmtree(path, ignore_errors=True)

    for case, vanish in (("removed", remove), ("moved", lambda path: path.rename(folder / "elsewhere"))):
        output = folder / "vanishing"
        process = ablation.start(output, *both)
        wait_for(lambda: (output / "none/none/1/epochs.jsonl").exists())
        vanish(output)
        _, err = process.communicate(timeout=60)
        checks.check("a folder that is %s is an error that names it" % case,
                     "" if process.returncode == 2 and "%s: has vanished" % output in err
                     else "%d %s" % (process.returncode, err))
        checks.check("and is not made anew", "" if not output.exists() else str(list(output.rglob("*"))))
    (folder / "elsewhere").rename(output)
    status, _, err = ablation.run(output, *both)
    checks.check("brought back, it goes on", ("" if status == 0 else err) or
                 ", ".join(ablation.differences(output, reference)))

    # A run that is still locked, as by a worker of a killed coordinator in the middle of a write, is waited for.
    output = folder / "held"
    (output / RUN).mkdir(parents=True)
    with open(output / RUN / ".lock", "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        process = ablation.start(output, *ONE_RUN)
        said = next((line for line in process.stderr if "seed 1" in line), "")
        waits = process.poll() is None and not children(process.pid)
    _, err = process.communicate()
    err = said + err
    checks.check("a run that is held is waited for, which is said",
                 ("" if waits and process.returncode == 0 and "seed 1: another process trains it" in said else err)
                 or same_run(output, reference))

    # A folder whose name is not UTF-8, which file systems allow.
    output = folder / os.fsdecode(b"caf\xe9")
    status, _, err = ablation.run(output, *ONE_RUN)
    checks.check("a folder may have any name", ("" if status == 0 else err) or same_run(output, reference))

    # Two coordinators.
    output = folder / "owners"
    first = ablation.start(output, *both, env=NO_HANDLERS)
    wait_for(lambda: (output / "results.csv").exists())
    status, _, err = ablation.run(output, *both)
    checks.check("a second coordinator is told who holds the folder",
                 "" if status == 2 and "is held by process %d on " % first.pid in err else "%d %s" % (status, err))
    status, _, err = ablation.run(output, "--shard=0/2", *both)
    checks.check("a shard beside the whole too", "" if status == 2 and "is held by" in err else "%d %s" % (status, err))
    # A worker that crashes: how it crashed is recorded, it is tried again if requested, and the others continue.
    crash_a_worker(first.pid)
    _, err = first.communicate()
    problem = "" if first.returncode == 0 and "signal 11" in err and "tried again" in err else err[-2000:]
    checks.check("a worker that crashes is tried again", problem or ", ".join(ablation.differences(output, reference)))

    output = folder / "crash"
    process = ablation.start(output, "--retries=0", "--seeds=1", *both, env=NO_HANDLERS)
    crash_a_worker(process.pid)
    _, err = process.communicate()
    failed = [row for row in table(output) if row["status"] == "failed"]
    done = [row for row in table(output) if row["status"] == "done"]
    checks.check("without retries it is a failed run among the others",
                 "" if process.returncode == 1 and len(failed) == 1 and len(done) == len(ARMS) - 1
                 and "signal 11 (Segmentation fault)" in err else "%d %s" % (process.returncode, err[-2000:]))
    # What the system does when memory runs out, and what a process does when it gets none.
    for case, end, words in (("killed", lambda pid: crash_a_worker(pid, signal.SIGKILL),
                              r"signal 9 \(Killed\); the system does that when memory runs out"),
                             ("starved", starve_a_worker, r"failed: .*(memory|alloc|cannot map|to map)")):
        output = folder / ("out_of_memory_" + case)
        process = ablation.start(output, "--retries=0", "--seeds=1", *both)
        end(process.pid)
        _, err = process.communicate()
        failed = [row for row in table(output) if row["status"] == "failed"]
        done = [row for row in table(output) if row["status"] == "done"]
        checks.check("a worker without memory, %s, is a failed run among the others, with its last lines" % case,
                     "" if process.returncode == 1 and len(failed) == 1 and len(done) == len(ARMS) - 1
                     and re.search(words, err, re.DOTALL) else "%d %s" % (process.returncode, err[-2000:]))
    output = folder / "crash"
    status, _, err = ablation.run(output, *both)
    checks.check("which the next call does again",
                 ("" if status == 0 else err) or ", ".join(ablation.differences(output, reference)))

    # Shards, at the same time, in one folder.
    output = folder / "shards"
    processes = [ablation.start(output, "--shard=%d/2" % i, "--jobs=1", "--threads_per_run=1") for i in range(2)]
    said = ""
    for process in processes:
        _, shard_err = process.communicate()
        said += "\nshard, status %d: %s" % (process.returncode, shard_err[-2000:])
    checks.check("two shards at once end well", "" if all(p.returncode == 0 for p in processes) else said)
    status, out, err = ablation.run(output, *both)
    checks.check("two shards make the whole", ", ".join(ablation.differences(output, reference)))
    checks.check("and a call without shards finds all done",
                 "" if status == 0 and "All 16 runs were done already." in out else out + err + said)

    # Shards of shifted seeds: both have seed 1, which one of them trains and the other waits for.
    output = folder / "overlap"
    shifted = ("--arms=dynamic_l1/cov", "--jobs=1", "--threads_per_run=1", "--retries=0")
    first = ablation.start(output, "--seeds=1-2", "--shard=0/2", *shifted)
    held = wait_for((output / RUN / "provenance.json").exists)  # written by the owner of the run's lock
    # The owner is stopped until the other shard waits for it: on a busy machine it could have ended before.
    owners = children(first.pid)
    for owner in owners:
        os.kill(owner, signal.SIGSTOP)
    second = ablation.start(output, "--seeds=0-1", "--shard=1/2", *shifted)
    held = held and wait_for(lambda: waits_for_others(second.pid, output), 120)
    for owner in owners:
        os.kill(owner, signal.SIGCONT)
    errors = [process.communicate()[1] for process in (first, second)]
    timing = output / RUN / "timing.jsonl"
    checks.check("of two shards with the same run one trains it, and both end well",
                 "" if held and (first.returncode, second.returncode) == (0, 0)
                 and len(timing.read_text().splitlines()) == ablation.epochs
                 and "trained by another process" in errors[1] else "\n".join(errors))
    checks.check("and it is that of an undisturbed one", same_run(output, reference))
    # One is killed in the middle: the other resumes the run. After that nothing touches finished runs.
    shutil.rmtree(output)
    first = ablation.start(output, "--seeds=1-2", "--shard=0/2", *shifted)
    wait_for((output / RUN / "checkpoint.safetensors").exists)
    second = ablation.start(output, "--seeds=0-1", "--shard=1/2", *shifted)
    time.sleep(0.5)
    first.kill()
    first.communicate()
    _, err = second.communicate()
    checks.check("one that is killed is followed by the other", ("" if second.returncode == 0 else err) or
                 same_run(output, reference))
    before = (output / RUN / "result.json").stat().st_mtime_ns, timing.read_bytes()
    for share in ("0/2", "0/4"):
        status, out, err = ablation.run(output, "--seeds=1-4", "--shard=%s" % share, "--arms=dynamic_l1/cov",
                                        "--jobs=1", "--threads_per_run=1")
        checks.check("a finished run of another share stays, beside %s" % share,
                     "" if status == 0 and before == ((output / RUN / "result.json").stat().st_mtime_ns,
                                                      timing.read_bytes()) else err)

    # Another coordinator on this machine has claimed a core: this test, or a real one.
    cores = sorted(os.sched_getaffinity(0))
    own = claim_a_core(cores)
    process = ablation.start(folder / "beside", "--arms=none/none", *both)
    seen = {}  # the cores that each worker was bound to, and how often that was seen
    while process.poll() is None:
        for worker in children(process.pid):
            try:
                seen.setdefault(worker, collections.Counter())[frozenset(os.sched_getaffinity(worker))] += 1
            except ProcessLookupError:
                pass
        time.sleep(0.005)
    # The most frequent: a process that is being started is not bound yet, and MKL tries each core for a moment.
    usual = [times.most_common(1)[0][0] for times in seen.values() if times]
    bound = set().union(*[affinity for affinity in usual if len(affinity) == 1])
    _, err = process.communicate()
    checks.check("workers keep off the core that another coordinator's worker has to itself",
                 "" if process.returncode == 0 and own and (len(cores) == 1 or own[0] not in bound)
                 else "%d %s %s %s" % (process.returncode, own, seen, err))
    if [name for _, name in socket.if_nameindex()] == ["lo"]:  # its own network namespace, without claims of other tests
        checks.check("and are bound to another", "" if bound or len(cores) == 1 else "%s %s" % (seen, err))
    if own:
        own[1].close()
    status, _, err = ablation.run(output, "--shard=2/2")
    checks.check("a shard that is none", "" if status == 2 and "is no shard" in err else err)
    environment = {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "2"}
    output = folder / "slurm"
    slurm = ("--arms=none/none", "--shard=slurm", *both)
    status, out, err = ablation.run(output, *slurm, env=environment)
    checks.check("a Slurm array's task is its shard, which is said",
                 "" if status == 0 and (output / "none/none/2/result.json").exists()
                 and out.startswith("task 4 of a Slurm array of 2 from 3 to 4: seeds 2 (--shard=1/2; ")
                 and not (output / "none/none/1").exists() else out + err)
    status, dry, err = ablation.run(output, *slurm, "--dry_run", env=environment)
    checks.check("by a dry run, too", "" if status == 0 and dry.splitlines()[0] == out.splitlines()[0]
                 and "in this share 1 runs, 1 of them done" in dry else dry + err)
    status, out, err = ablation.run(folder / "whole", "--arms=none/none", "--dry_run", env=environment)
    checks.check("but only if it is asked for", "" if status == 0 and "2 runs, 0 of them done" in out
                 and "without --shard: all seeds are this task's" in err else out + err)
    for case, changed, words in (
            ("more tasks than seeds", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "10",
                                       "SLURM_ARRAY_TASK_MIN": "0"},
             "task 7 of 10 of a Slurm array: has no seed to train, since the sweep has 2 seeds, 1 to 2;"),
            ("an array with gaps", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3",
                                    "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "7",
                                    "SLURM_ARRAY_TASK_STEP": "1"},
             "which share is this task's cannot be told; number the tasks without gaps, e.g. --array=0-2"),
            ("no task", {"SLURM_ARRAY_TASK_ID": ""}, 'SLURM_ARRAY_TASK_ID is ""; must be a whole number')):
        for flags in ((), ("--dry_run",)):
            status, out, err = ablation.run(folder / "no_share", *slurm, *flags, env={**environment, **changed})
            checks.check("%s is refused%s" % (case, " by a dry run" if flags else ""),
                         "" if status == 2 and words in err and not (folder / "no_share").exists()
                         else "%d %s" % (status, out + err))

    # Ctrl-C also reaches the workers, even one that is still being started and has no handler yet: no run fails by it.
    output = folder / "interrupted"
    process = ablation.start(output, "--retries=0", *both, start_new_session=True)
    wait_for(lambda: children(process.pid))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    checks.check("Ctrl-C while workers are being started is no failure of theirs",
                 "" if process.returncode == 130 and not list(output.rglob("result.json"))
                 else "%d %s" % (process.returncode, err))

    # It ends soon after it is asked to stop, and workers do not outlive a coordinator.
    output = folder / "stop"
    process = ablation.start(output, *both)
    wait_for(lambda: children(process.pid))
    time.sleep(1.5)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate()
    checks.check("SIGINT ends it with status 130 within ten seconds",
                 "" if process.returncode == 130 and time.monotonic() - start < 10 else str(process.returncode))

    # The terminal is closed: all of its processes get SIGHUP, and their output is lost.
    output = folder / "hangup"
    pid, terminal = pty.fork()
    if pid == 0:
        command = ablation.command(output, *ONE_RUN)
        os.execv(command[0], command)
    under_way = wait_for(lambda: (output / RUN / "checkpoint.safetensors").exists())
    os.close(terminal)
    _, wait_status = os.waitpid(pid, 0)
    left_over = lambda: "" if (output / RUN / "checkpoint.safetensors").exists() and not (
        output / RUN / "result.json").exists() else str(list(output.rglob("*")))
    checks.check("a closed terminal ends it with status 129",
                 "" if under_way and os.waitstatus_to_exitcode(wait_status) == 129 else str(wait_status))
    checks.check("and leaves a checkpoint, but no result", left_over())
    status, _, err = ablation.run(output, *ONE_RUN)
    checks.check("from which it goes on", ("" if status == 0 else err) or same_run(output, reference))
    # The same if the readers of its output end first. Under nohup it trains to the end, and its status says that the
    # table at the end was not read.
    for case, ignored, expected in (("", False, 129), (" under nohup", True, 1)):
        output = folder / ("unread%d" % ignored)
        process = ablation.start(output, *ONE_RUN, start_new_session=True, preexec_fn=lambda: signal.signal(
            signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL))
        wait_for(lambda: (output / RUN / "checkpoint.safetensors").exists())
        process.stdout.close()
        process.stderr.close()
        os.killpg(process.pid, signal.SIGHUP)
        process.wait()
        checks.check("SIGHUP with nobody listening%s: status %d" % (case, expected),
                     "" if process.returncode == expected else str(process.returncode))
        if not ignored:
            checks.check("and a checkpoint is left", left_over())
            status, _, err = ablation.run(output, *ONE_RUN)
            checks.check("from which it goes on, too", "" if status == 0 else err)
        checks.check("the run%s has its files" % case, same_run(output, reference))

    output = folder / "stop"
    process = ablation.start(output, *both)
    wait_for(lambda: len(children(process.pid)) == 2)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    gone = wait_for(lambda: not any(pathlib.Path("/proc/%d/exe" % w).exists() for w in workers), 5)
    checks.check("workers die with their coordinator", "" if gone else "some live on")
    status, _, err = ablation.run(output, *both)
    checks.check("and the next call ends as if nothing had been",
                 ("" if status == 0 else err) or ", ".join(ablation.differences(output, reference)))
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
