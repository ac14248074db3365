"""Runs checks within a time, prints a row for each, and keeps them in a JSON file, so that a later call goes on.

    ledger = Ledger("checks.json", resume=False)
    part = Part("b", "kernels", seconds=60, ledger=ledger, environment=os.environ)
    part.check("fused_batch_norm_test", lambda run: tested(run, "tests/fused_batch_norm_test"))
    print(ledger.closing_line())

A check is a function of a Run, by which it calls programs. It returns an Outcome, or raises: NotPossible where this
machine lacks something (the check is ABSENT); CommandFailed, TimeUp, or anything else (it has failed). One check never
stops the next. A check that had no time left is ABSENT, and a later call that resumes makes it.
"""

import concurrent.futures
import json
import os
import pathlib
import shlex
import signal
import subprocess
import tempfile
import threading
import time
import traceback

PASS, FAIL, ABSENT = "PASS", "FAIL", "ABSENT"
TAIL = 3000  # characters of the output of what failed
LEAST = 3  # seconds; with less left, a check is not begun


class NotPossible(Exception):
    """This machine lacks what the check needs; the message says what."""


class CommandFailed(Exception):
    """A program ended with a status other than 0. tail: the end of what it printed."""

    def __init__(self, message, tail=""):
        super().__init__(message)
        self.tail = tail


class TimeUp(CommandFailed):
    """The check's time was over before the program ended."""


class Outcome:
    """What a check came to.

    figure: a short text for the table. figures: every number, for the JSON file; whatever json can write.
    """

    def __init__(self, result, figure="", figures=None):
        self.result, self.figure, self.figures = result, figure, figures or {}


def passed_if(good, figure, figures=None):
    return Outcome(PASS if good else FAIL, figure, figures)


class Finished:
    """A program that ended: its status, what it printed, and how long it took."""

    def __init__(self, status, out, error, seconds):
        self.status, self.out, self.error, self.seconds = status, out, error, seconds

    def last_json(self):
        """The object in the last line that the program printed."""
        return json.loads(self.out.strip().splitlines()[-1])


class Run:
    """One check while it is made: calls programs, and remembers which."""

    def __init__(self, deadline, environment):
        self.deadline = deadline
        self.environment = dict(environment)
        self.commands, self.tail = [], ""

    def left(self):
        """Seconds that the check still has."""
        return self.deadline - time.monotonic()

    def start(self, command, environment=None, **options):
        """Begins a program in a process group of its own; the caller ends it by stop()."""
        self.commands.append(shlex.join(str(word) for word in command))
        return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, start_new_session=True,
                                env={**self.environment, **(environment or {})}, **options)

    def call(self, command, environment=None, statuses=(0,), limit=None):
        """Runs a program to its end, in a process group of its own. Returns Finished.

        statuses: those that are no failure. limit: seconds, if less than the check has left.
        """
        begin = time.monotonic()
        with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as error:
            process = self.start(command, environment, stdout=out, stderr=error)
            allowed = min(self.left(), limit or self.left())
            try:
                process.wait(max(allowed, 0.1))
            except subprocess.TimeoutExpired:
                pass
            finally:
                ended = process.poll() is not None
                stop(process)
            texts = []
            for file in (out, error):
                file.seek(0)
                texts.append(file.read())
        finished = Finished(process.returncode, *texts, time.monotonic() - begin)
        self.tail = tail = (texts[0] + texts[1])[-TAIL:]
        if not ended:
            raise TimeUp(f"{pathlib.Path(str(command[0])).name} did not end in {allowed:.0f} s", tail)
        if finished.status not in statuses:
            lines = (texts[1].strip() or texts[0].strip()).splitlines()
            raise CommandFailed(f"{pathlib.Path(str(command[0])).name} ended with status {finished.status}: "
                                f"{lines[-1] if lines else 'it printed nothing'}", tail)
        return finished

    def call_all(self, calls, at_once):
        """Runs functions of this Run (each makes its own calls) some at once; returns their results in order."""
        with concurrent.futures.ThreadPoolExecutor(max(1, at_once)) as pool:
            return list(pool.map(lambda call: call(self), calls))


def stop(process):
    """Ends a program that Run.start began, if it still runs, with all that it started and that stayed in its group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Ledger:
    """The checks so far, in a JSON file that is whole after each of them."""

    def __init__(self, path, resume, about=None):
        """about: whatever else the file says. resume: the file's checks are kept; others must not be there."""
        self.path = pathlib.Path(path)
        self.about, self.checks, self.lock = dict(about or {}), [], threading.Lock()
        if resume and self.path.exists():
            earlier = json.loads(self.path.read_text())
            differ = [key for key in self.about if key in earlier and earlier[key] != self.about[key]]
            if differ:
                raise ValueError(f"{path}: has {differ[0]} {earlier[differ[0]]!r}, and this call {self.about[differ[0]]!r}; "
                                 "resume with the same, or write another file")
            self.checks = [check for check in earlier["checks"] if not check.get("not_begun")]

    def find(self, part, name):
        return next((check for check in self.checks if (check["part"], check["check"]) == (part, name)), None)

    def add(self, check):
        with self.lock:
            self.checks = [other for other in self.checks
                           if (other["part"], other["check"]) != (check["part"], check["check"])] + [check]
            self.write()

    def write(self):
        whole = {**self.about, **self.counts(), "closing_line": self.closing_line(),
                 "checks": sorted(self.checks, key=lambda check: check["part"])}
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(json.dumps(whole, indent=1) + "\n")
        os.replace(new, self.path)

    def counts(self):
        return {result.lower(): sum(check["result"] == result for check in self.checks) for result in (PASS, FAIL, ABSENT)}

    def closing_line(self):
        counts = self.counts()
        return f"{counts['pass']} checks passed, {counts['fail']} failed, {counts['absent']} not possible here"

    def failed(self):
        return self.counts()["fail"] > 0


class Part:
    """The checks of one part, which share its seconds."""

    def __init__(self, name, title, seconds, ledger, environment, say=print):
        self.name, self.title, self.seconds, self.ledger = name, title, seconds, ledger
        self.deadline = time.monotonic() + seconds
        self.environment, self.say = environment, say

    def left(self):
        return self.deadline - time.monotonic()

    def check(self, name, function, limit=None):
        """Makes a check, of at most `limit` seconds, unless the ledger has it. Returns what the ledger has then."""
        return self.checks([(name, function)], 1, limit)[0]

    def checks(self, named, at_once, limit=None):
        """Makes several checks, some at once: pairs of a name and a function."""
        with concurrent.futures.ThreadPoolExecutor(max(1, at_once)) as pool:
            return list(pool.map(lambda pair: self._make(*pair, limit), named))

    def contain(self, work):
        """Calls `work`, which makes this part's checks. If it raises, that is a check that has failed."""
        try:
            work()
        except Exception as error:
            reason = error
            self._make("all checks were made", lambda run: self._raise(reason), None)

    @staticmethod
    def _raise(reason):
        raise reason

    def _make(self, name, function, limit):
        earlier = self.ledger.find(self.name, name)
        if earlier:
            self._say(earlier, " (kept)")
            return earlier
        begin = time.monotonic()
        run = Run(min(self.deadline, begin + (limit or self.left())), self.environment)
        check = {"part": self.name, "check": name}
        if run.left() < LEAST:
            outcome = Outcome(ABSENT, "not begun: the part's time was over")
            check["not_begun"] = True
        else:
            outcome = self._outcome(run, function)
        check.update(result=outcome.result, figure=outcome.figure, figures=outcome.figures,
                     seconds=round(time.monotonic() - begin, 2), commands=run.commands)
        if outcome.result == FAIL:
            check["tail"] = run.tail
        self.ledger.add(check)
        self._say(check)
        return check

    @staticmethod
    def _outcome(run, function):
        try:
            return function(run)
        except NotPossible as reason:
            return Outcome(ABSENT, str(reason))
        except CommandFailed as reason:
            run.tail = reason.tail
            return Outcome(FAIL, str(reason))
        except Exception as error:  # of a check itself: it must not stop the others, nor be taken for a success
            run.tail = traceback.format_exc()[-TAIL:]
            return Outcome(FAIL, f"{type(error).__name__}: {error}")

    def _say(self, check, more=""):
        self.say(f"{check['part']}  {check['check']:<44} {check['result']:<6} {check['seconds']:7.1f} s  "
                 f"{check['figure']}{more}")


def part_seconds(left, weights, name):
    """The seconds of the part `name` when `left` are left for it and those after it, in proportion to their weights.

    weights: part -> weight, in the order of the parts. What earlier parts did not use is shared by the later ones.
    """
    names = list(weights)
    still = sum(weights[other] for other in names[names.index(name):])
    return max(0.0, left) * weights[name] / still
