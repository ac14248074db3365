#!/usr/bin/env python3
"""On a real Slurm of one machine: a job array of two tasks, one of them requeued in the middle; and one run of two nodes,
requeued in the middle.

Usage: slurm_test.py ABLATION ARRAY_SCRIPT RANKS_SCRIPT SLURM_SCRIPT. It needs root and Debian's slurm-wlm and munge; without them it
tries only the script, and says so.
"""

import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from small_ablation import Checks, SmallAblation, wait_for  # noqa: E402


class Slurm:
    """A cluster of this machine, and jobs on it."""

    def __init__(self, script, folder, nodes=1):
        self.script, self.folder = script, folder
        command = [script, "start", str(folder / "slurm"), str(random.randrange(20000, 30000, 2)), str(nodes)]
        started = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        self.refused = "" if started.returncode == 0 else started.stderr.strip() or "status %d" % started.returncode
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm" / "slurm.conf")}

    def stop(self):
        subprocess.run([self.script, "stop", str(self.folder / "slurm")], check=False)

    def call(self, *command):
        return subprocess.run(command, env=self.environment, check=True, text=True, cwd=self.folder,
                              stdout=subprocess.PIPE).stdout

    def submit(self, *command):
        return self.call("sbatch", "--parsable", *command).strip()

    def state(self, job):
        """What Slurm calls the state of a job, and how many times it was started again."""
        text = self.call("scontrol", "show", "job", job)
        return re.search(r"JobState=(\w+)", text).group(1), int(re.search(r"Restarts=(\d+)", text).group(1))

    def ends(self, *jobs):
        over = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL")
        return wait_for(lambda: all(self.state(job)[0] in over for job in jobs), 300, pause=0.1)


def array(checks, program, script, cluster_script, folder):
    """An array of two tasks that share the seeds, the second requeued in the middle."""
    cluster = Slurm(cluster_script, folder)
    try:
        if cluster.refused:
            checks.check("Slurm starts", cluster.refused)
            return
        ablation = SmallAblation(program, folder, epochs=10, seeds=2)
        one_core = ("--jobs=1", "--threads_per_run=1")
        output, reference = folder / "array", folder / "undisturbed"
        job = cluster.submit("--array=0-1", "--cpus-per-task=1", "--mem=500", script, *ablation.command(output, *one_core))
        tasks = ["%s_%d" % (job, task) for task in (0, 1)]
        in_the_middle = output / "dynamic_l1/none/2/checkpoint.safetensors"
        checks.check("the second task is at work", "" if wait_for(in_the_middle.exists) else "it is not")
        cluster.call("scontrol", "requeue", tasks[1])
        ended = cluster.ends(*tasks)
        states = [cluster.state(task) for task in tasks]
        checks.check("both tasks end", "" if ended else str(states))
        checks.check("well, the second after one requeue",
                     "" if states == [("COMPLETED", 0), ("COMPLETED", 1)] else str(states))
        log = (folder / ("slurm-ablation-%s.log" % tasks[1])).read_text()
        checks.check("each says which seeds are its own",
                     "" if "task 1 of 2 of a Slurm array: seeds 2 (" in log else log[-2000:])
        checks.check("it was stopped with checkpoints and started again",
                     "" if "the same command goes on" in log and "start 2:" in log else log[-2000:])
        status, out, err = ablation.run(output, *one_core)
        checks.check("a call without a shard finds all done",
                     "" if status == 0 and "All 16 runs were done already." in out else out + err)
        status, out, err = ablation.run(reference, "--jobs=2", "--threads_per_run=1")
        checks.check("every file is that of an undisturbed ablation", ", ".join(ablation.differences(output, reference)))
        trained = ablation.epochs_trained(output)
        checks.check("%d epochs trained for 160" % trained, "" if 160 <= trained <= 161 else "too many or too few")
    finally:
        cluster.stop()


def two_nodes(checks, program, script, cluster_script, folder):
    """A run of two ranks, each on a node of its own, requeued in the middle."""
    folder.mkdir(mode=0o711)
    cluster = Slurm(cluster_script, folder, nodes=2)
    try:
        if cluster.refused:
            checks.check("there can be no network namespaces here (%s): no run of two nodes was tried" %
                         cluster.refused.replace("\n", "; "), "")
            return
        cluster.environment["MASTER_ADDR"] = (folder / "slurm" / "network").read_text().strip() + ".1"
        ablation = SmallAblation(program, folder, epochs=60, seeds=1)
        arm = ("--arms=dynamic_l1/cov", "--threads_per_run=1")
        output, reference = folder / "nodes", folder / "undisturbed"
        job = cluster.submit("--nodes=2", "--cpus-per-task=1", "--mem=1500", "--time=10", script,
                             *ablation.command(output, *arm))
        run = "dynamic_l1/cov/1"
        log = folder / ("slurm-ranks-%s.log" % job)
        text = lambda: log.read_text() if log.exists() else "no log"
        records = output / run / "epochs.jsonl"
        at_work = lambda: records.exists() and len(records.read_text().splitlines()) >= 5
        checks.check("a run of two nodes is at work", "" if wait_for(at_work, 180) else text()[-2000:])
        cluster.call("scontrol", "requeue", job)
        checks.check("it ends", "" if cluster.ends(job) else "%s %s" % (cluster.state(job), text()[-2000:]))
        state = cluster.state(job)
        checks.check("well, after one requeue", "" if state == ("COMPLETED", 1) else "%s %s" % (state, text()[-2000:]))
        checks.check("it was stopped with a checkpoint and started again",
                     "" if re.search(r"stopped in epoch \d+ after", text()) and "2 ranks, start 2:" in text()
                     else text()[-3000:])
        status, _, err = ablation.run(reference, *arm, "--ranks=2", "--jobs=1")
        checks.check("two ranks of one command end well", "" if status == 0 else err[-2000:])
        differ = [name for name in ("last.safetensors", "epochs.jsonl", "result.json")
                  if (output / run / name).read_bytes() != (reference / run / name).read_bytes()]
        checks.check("every file is that of an undisturbed run of two ranks", ", ".join(differ))
        epochs = len((output / run / "timing.jsonl").read_text().splitlines())
        checks.check("%d epochs trained for 60" % epochs, "" if 60 <= epochs <= 61 else "too many or too few")
    finally:
        cluster.stop()


def main():
    program, script, ranks_script, cluster_script = (str(pathlib.Path(p).resolve()) for p in sys.argv[1:5])
    checks = Checks("slurm_test")
    # The script itself needs no Slurm.
    for case, environment, flags, expected in (
            ("in an array the program gets the task's share", {"SLURM_ARRAY_TASK_ID": "1"}, ["--config=c"],
             "--config=c --shard=slurm"),
            ("a share that the command names stays", {"SLURM_ARRAY_TASK_ID": "1"}, ["--shard=2/3", "--config=c"],
             "--shard=2/3 --config=c"),
            ("in a job that is no array there is none", {}, ["--config=c"], "--config=c")):
        environment = {**{k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}, **environment}
        ran = subprocess.run(["bash", script, "echo", *flags], env=environment, stdout=subprocess.PIPE, text=True)
        said = ran.stdout.splitlines()[-1:]
        checks.check(case, "" if ran.returncode == 0 and said == [expected] else "%d %s" % (ran.returncode, ran.stdout))
    if os.geteuid() != 0 or not all(shutil.which(p) for p in ("munged", "slurmctld", "slurmd", "sbatch")):
        checks.check("Slurm is not installed, or this is not root: no array was tried", "")
        return checks.finish()
    if not os.stat("/").st_mode & 0o001:
        # Munge refuses that, and without it there is no Slurm. A chroot may have it.
        checks.check("only root may enter the folder /: no array was tried", "")
        return checks.finish()

    # Paths of sockets must be short, and Slurm's daemons outlive the sandbox's folders.
    folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o711)  # munge requires that everybody can reach its socket
    array(checks, program, script, cluster_script, folder)
    two_nodes(checks, program, ranks_script, cluster_script, folder / "two")
    shutil.rmtree(folder, ignore_errors=True)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
