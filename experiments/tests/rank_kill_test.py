#!/usr/bin/env python3
"""A run of several processes that are killed, frozen and cut off from each other ends with the files of an undisturbed one.

Usage: rank_kill_test.py ABLATION. First three ranks of one command (--ranks=3), then, as root, three hosts in network
namespaces with a rank each, as torchrun would start them (--ranks=env). Without root the second part is tried on one host,
where nothing is cut. It also counts what a step sends.
"""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from small_ablation import Checks, SmallAblation, children, wait_for  # noqa: E402

RANKS, HERE, ON_HOSTS, SILENCE, JOIN = 3, 16, 18, 4, 60
# How long a rank may take, after the silence, to be missed and to end: the processes that look for it share a busy machine.
NOTICE = 30
ARM = "dynamic_l1/cov"
RUN = ARM + "/1"
FILES = ("last.safetensors", "epochs.jsonl", "result.json", "state.safetensors")
FLAGS = ("--arms=" + ARM, "--seeds=1", "--threads_per_run=1", "--rank_timeout=%d" % SILENCE)


def alive(process):
    try:
        return pathlib.Path("/proc/%d/stat" % process).read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def threads(process):
    try:
        return len(os.listdir("/proc/%d/task" % process))
    except OSError:
        return 0


def send(process, number):
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass


def floats_in(path):
    """The float32 numbers of a checkpoint, without masks: a network's parameters and running statistics."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return sum((entry["data_offsets"][1] - entry["data_offsets"][0]) // 4 for name, entry in header.items()
               if name != "__metadata__" and not name.endswith(".mask") and entry["dtype"] == "F32")


class Hosts:
    """Network namespaces on one bridge, each with an address; or, if they cannot be made, this host under other names."""

    def __init__(self, count):
        self.count = count
        self.tag = "pk%d" % (os.getpid() % 100000)
        self.real = os.geteuid() == 0 and shutil.which("ip") is not None
        network = random.Random(os.getpid())
        self.network = "10.%d.%d." % (network.randint(64, 200), network.randint(1, 250))
        if self.real:
            try:
                self.ip("link", "add", self.tag, "type", "bridge")
                self.ip("link", "set", self.tag, "up")
                for host in range(count):
                    self.make(host)
            except subprocess.CalledProcessError:
                self.close()
                self.real = False

    @staticmethod
    def ip(*command):
        subprocess.run(("ip", *command), check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def name(self, host):
        return "%sn%d" % (self.tag, host)

    def make(self, host):
        name, outside = self.name(host), "%sv%d" % (self.tag, host)
        self.ip("netns", "add", name)
        self.ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
        self.ip("link", "set", outside, "master", self.tag, "up")
        self.ip("-n", name, "addr", "add", "%s%d/24" % (self.network, host + 1), "dev", "eth0")
        self.ip("-n", name, "link", "set", "eth0", "up")
        self.ip("-n", name, "link", "set", "lo", "up")
        # As on Debian, the name of the first host means its loopback there, and its address elsewhere.
        folder = pathlib.Path("/etc/netns", name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text("127.0.0.1 localhost\n%s %s\n" % (
            "127.0.1.1" if host == 0 else self.network + "1", self.tag))

    def close(self):
        for host in range(self.count):
            subprocess.run(("ip", "netns", "del", self.name(host)), stderr=subprocess.DEVNULL)
            shutil.rmtree("/etc/netns/" + self.name(host), ignore_errors=True)
        subprocess.run(("ip", "link", "del", self.tag), stderr=subprocess.DEVNULL)

    def first(self):
        return self.tag if self.real else "127.0.0.1"

    def prefix(self, host):
        return ["ip", "netns", "exec", self.name(host)] if self.real else []

    def cut(self, host):
        """Nothing that it sends arrives, and nothing is said to it."""
        self.ip("link", "set", "%sv%d" % (self.tag, host), "nomaster")

    def mend(self, host):
        self.ip("link", "set", "%sv%d" % (self.tag, host), "master", self.tag)

    def sent(self, host):
        """Bytes so far, with the headers of Ethernet, IP and TCP."""
        return int(subprocess.run((*self.prefix(host), "cat", "/sys/class/net/eth0/statistics/tx_bytes"), check=True,
                                  stdout=subprocess.PIPE, text=True).stdout)


class Launched:
    """The command, started once for each rank; rank 0 is first."""

    def __init__(self, hosts, ablation, output, port):
        self.processes = []
        self.logs = []
        for rank in range(RANKS):
            log = tempfile.TemporaryFile("w+", errors="surrogateescape")
            environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(RANKS), "LOCAL_RANK": "0",
                           "MASTER_ADDR": hosts.first(), "MASTER_PORT": str(port)}
            self.logs.append(log)
            self.processes.append(subprocess.Popen(
                hosts.prefix(rank) + ablation.command(output, *FLAGS, "--ranks=env", "--retries=1000"), env=environment,
                stdout=log, stderr=subprocess.STDOUT))

    def end_one(self, rank):
        """Its launched process, whose worker dies with it."""
        send(self.processes[rank].pid, signal.SIGKILL)

    def worker(self, rank):
        found = children(self.processes[rank].pid)
        return found[0] if found else None

    def ended(self):
        return all(process.poll() is not None for process in self.processes)

    def end(self):
        for process in self.processes:
            send(process.pid, signal.SIGKILL)
            process.wait()

    def said(self):
        texts = []
        for log in self.logs:
            log.seek(0)
            texts.append(log.read())
        return texts


def free_port():
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


def main():
    folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR")))
    draw = random.Random(int(os.environ.get("KILL_TEST_SEED", "1")))
    checks = Checks("rank_kill_test")
    ablation = SmallAblation(sys.argv[1], folder, epochs=40, seeds=1, minutes="0.002")
    ranks_here = ("--ranks=%d" % RANKS, "--jobs=1")
    reference = folder / "undisturbed"
    status, _, err = ablation.run(reference, *FLAGS, *ranks_here)
    checks.check("the undisturbed run ends well", "" if status == 0 else err[-2000:])
    provenance = json.loads((reference / RUN / "provenance.json").read_text())
    checks.check("it says how many ranks it had", "" if provenance.get("ranks") == RANKS else str(provenance))
    alone = folder / "alone"
    status, _, err = ablation.run(alone, *FLAGS, "--jobs=1")
    checks.check("one process alone computes something else, whose batch norms see whole batches",
                 "" if status == 0 and (alone / RUN / FILES[0]).read_bytes() != (reference / RUN / FILES[0]).read_bytes()
                 else "%d %s" % (status, err[-2000:]))

    def differences(output):
        found = [name for name in FILES
                 if not (output / RUN / name).exists() or
                 (output / RUN / name).read_bytes() != (reference / RUN / name).read_bytes()]
        return found + [p.name for p in (output / RUN).iterdir() if "checkpoint" in p.name or ".tmp." in p.name]

    def whole_checkpoint(output):
        return (output / RUN / "checkpoint.safetensors").exists()

    # An epoch's last batch has 30 images.
    status, _, err = ablation.run(folder / "refused", *FLAGS, "--ranks=31")
    checks.check("more ranks than a batch has images are refused before anything is trained",
                 "" if status == 2 and "batches of down to 30 of 1438 training images; 31 ranks need at least 31" in err and
                 not (folder / "refused").exists() else "%d %s" % (status, err[-2000:]))

    # Another number of ranks may go on.
    output = folder / "fewer"
    process = ablation.start(output, *FLAGS, *ranks_here)
    wait_for(lambda: whole_checkpoint(output) or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    checks.check("asked to stop, all ranks stop", "" if process.returncode == 143 and "goes on from here" in err
                 else "%d %s" % (process.returncode, err[-2000:]))
    status, _, err = ablation.run(output, *FLAGS, "--ranks=2", "--jobs=1")
    provenance = json.loads((output / RUN / "provenance.json").read_text())
    checks.check("two ranks go on where three stopped, and it is said",
                 "" if status == 0 and provenance.get("ranks") == 2 and provenance["earlier"][0].get("ranks") == 3
                 else "%d %s %s" % (status, provenance, err[-2000:]))

    # Ranks of one command. The command itself tries again.
    disturbed, slowest, rounds = 0, 0.0, 0
    while disturbed < HERE:
        rounds += 1
        output = folder / ("here%d" % rounds)
        process = ablation.start(output, *FLAGS, *ranks_here, "--retries=1000")
        workers = lambda: children(process.pid)
        this_round = 0
        while process.poll() is None and disturbed < HERE:
            if not wait_for(lambda: len(workers()) == RANKS or process.poll() is not None):
                break
            # Most are trained on by then; one that is frozen before it has joined is missed after a minute only.
            if draw.random() < 0.9:
                wait_for(lambda: all(threads(p) > 3 for p in workers()) or process.poll() is not None, 60)
            time.sleep(draw.uniform(0, 3))
            before = workers()
            if len(before) != RANKS or process.poll() is not None:
                continue
            rank, frozen = draw.randrange(RANKS), draw.random() < 0.5
            began = time.monotonic()
            send(before[rank], signal.SIGSTOP if frozen else signal.SIGKILL)
            # One that is frozen before it has joined is missed when the others have waited for it.
            gone = wait_for(lambda: not any(alive(p) for p in before), JOIN + SILENCE + NOTICE)
            disturbed, this_round = disturbed + 1, this_round + 1
            slowest = max(slowest, time.monotonic() - began)
            checks.check("disturbance %d: all ranks end when rank %d is %s" % (disturbed, rank, "frozen" if frozen else "killed"),
                         "" if gone else "after %.0f s they do not" % (time.monotonic() - began))
            if not gone:
                process.kill()
        _, err = process.communicate()
        if process.returncode != 0:  # disturbed to its end
            checks.check("round %d: the command itself goes on" % rounds, "status %d: %s" % (process.returncode, err[-2000:]))
        again = [line for line in err.splitlines() if line.rstrip().split("  ")[0] and "tried again" in line]
        named = [line for line in again if re.search(
            r"rank \d \(process \d+ on \S+\) has (ended before its work was done|given no sign of life)|"
            r"rank \d of 3 has not come|ended with signal 9", line)]
        # The last disturbance may hit a process whose work is done, while the command still waits for its end. Then nothing
        # is lost, and nothing is tried again.
        checks.check("round %d: each attempt says which rank was lost" % rounds,
                     "" if len(named) == len(again) >= this_round - 1
                     else "%d of %d: %s" % (len(named), this_round, err[-3000:]))
        checks.check("round %d, disturbed %d times: every file is the undisturbed one's" % (rounds, this_round),
                     ", ".join(differences(output)))
    print("ranks of one command, all ended at most %.1f s after a disturbance" % slowest, flush=True)

    # A rank a host.
    hosts = Hosts(RANKS)
    try:
        output = folder / "hosts"
        before = [hosts.sent(host) for host in range(RANKS)] if hosts.real else None
        launched = Launched(hosts, ablation, output, free_port())
        checks.check("a rank a host: the run ends well",
                     "" if wait_for(launched.ended, 300) and all(p.returncode == 0 for p in launched.processes)
                     else str(launched.said()))
        launched.end()
        checks.check("with the files of ranks on one host", ", ".join(differences(output)))
        if hosts.real:
            # Each sends 2 (n - 1) / n of the gradients, of running statistics and of two sums a step.
            steps = 40 * -(-1438 // 64)
            ring = 4 * (floats_in(output / RUN / "last.safetensors") + 2) * 2 * (RANKS - 1) / RANKS
            ratio = [(hosts.sent(host) - before[host]) / steps / ring for host in range(RANKS)]
            print("bytes sent a step, of the gradients' once around the ring: " + ", ".join("%.3f" % r for r in ratio))
            # What is more are headers, a flag a step, checksums, evaluations, and signs of life.
            checks.check("a step sends the gradients once around the ring",
                         "" if all(1 <= r <= 1.35 for r in ratio) else str(ratio))
        disturbed, slowest, cuts, rounds = 0, 0.0, 0, 0
        while disturbed < ON_HOSTS:
            rounds += 1
            output = folder / ("hosts%d" % rounds)
            done, this_round = False, 0
            while not done and disturbed < ON_HOSTS:
                launched = Launched(hosts, ablation, output, free_port())
                at_work = lambda: all(launched.worker(rank) for rank in range(RANKS))
                # One that is frozen before it has joined is missed after ten minutes only.
                joined = lambda: at_work() and all(threads(launched.worker(rank) or 0) > 3 for rank in range(RANKS))
                wait_for(lambda: joined() or launched.ended())
                wait_for(lambda: launched.ended(), draw.uniform(0.5, 5))
                victims = [launched.worker(rank) for rank in range(RANKS)]
                if launched.ended() or not all(victims):
                    done = launched.ended() and all(p.returncode == 0 for p in launched.processes)
                    launched.end()
                    continue
                rank = draw.randrange(RANKS)
                kinds = ["killed", "frozen", "killed with what started it"] + ["cut off"] * hosts.real
                what = kinds[disturbed % len(kinds)]
                began = time.monotonic()
                if what == "cut off":
                    hosts.cut(rank)
                    cuts += 1
                elif what == "killed with what started it":
                    launched.end_one(rank)
                else:
                    send(victims[rank], signal.SIGKILL if what == "killed" else signal.SIGSTOP)
                others = [v for i, v in enumerate(victims) if i != rank or what == "cut off"]
                gone = wait_for(lambda: not any(alive(p) for p in others), SILENCE + NOTICE)
                disturbed, this_round = disturbed + 1, this_round + 1
                slowest = max(slowest, time.monotonic() - began)
                # Whoever started them ends what is left, and starts them again.
                if draw.random() < 0.5 or what not in ("killed", "frozen"):
                    launched.end()
                else:  # or rank 0 tries again by itself
                    wait_for(launched.ended, 60)
                    done = launched.ended() and all(p.returncode == 0 for p in launched.processes)
                    launched.end()
                if what == "cut off":
                    hosts.mend(rank)
                said = launched.said()
                checks.check("disturbance %d on hosts: the others end when rank %d is %s" % (disturbed, rank, what),
                             "" if gone else "after %.0f s they do not: %s" % (time.monotonic() - began, said))
            launched = Launched(hosts, ablation, output, free_port())
            ended = wait_for(launched.ended, 300)
            said = launched.said()
            checks.check("hosts, round %d: the last call ends well" % rounds,
                         "" if ended and all(p.returncode == 0 for p in launched.processes) else str(said))
            launched.end()
            checks.check("hosts, round %d, disturbed %d times: every file is the undisturbed one's" % (rounds, this_round),
                         ", ".join(differences(output)))
        print("a rank a host (%s), %d of %d disturbances cut a host off, all ended at most %.1f s after one" % (
            "network namespaces" if hosts.real else "one host: not root", cuts, ON_HOSTS, slowest), flush=True)
        if hosts.real:
            checks.check("hosts were cut off", "" if cuts >= 3 else "%d times" % cuts)
        # A config that rank 0 refuses ends the others, too.
        ablation.config.write_text(ablation.config.read_text().replace("batch_size: 64", "batch_size: -1"))
        launched = Launched(hosts, ablation, folder / "refused", free_port())
        ended = wait_for(launched.ended, 60)
        checks.check("a config that is refused ends all ranks",
                     "" if ended and launched.processes[0].returncode == 2 and "batch_size" in launched.said()[0]
                     else str(launched.said()))
        launched.end()
    finally:
        if hosts.real:
            hosts.close()
    shutil.rmtree(folder, ignore_errors=True)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
