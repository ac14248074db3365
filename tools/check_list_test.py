#!/usr/bin/env python3
"""Tests check_list.py: times, results, what fails, and how a later call goes on. Argument: check_list.py."""

import json
import os
import pathlib
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(os.path.abspath(sys.argv.pop(1))).parent))
import check_list
from check_list import ABSENT, FAIL, PASS, Ledger, NotPossible, Outcome, Part, part_seconds, passed_if


class CheckListTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name, "checks.json")
        self.rows = []

    def part(self, ledger, seconds=60.0, name="a"):
        return Part(name, "a part", seconds, ledger, os.environ, self.rows.append)

    def test_results(self):
        ledger = Ledger(self.path, resume=False, about={"device": "cpu"})
        part = self.part(ledger)

        def lacking(run):
            raise NotPossible("there is no such tool here")

        part.check("good", lambda run: Outcome(PASS, "3 of 3", {"of": 3}))
        part.check("bad", lambda run: passed_if(1 + 1 == 3, "2"))
        part.check("lacking", lacking)
        part.check("broken", lambda run: {}["no such key"])
        part.check("command", lambda run: run.call([sys.executable, "-c", "import sys; sys.exit('it went wrong')"]))
        written = json.loads(self.path.read_text())
        by_name = {check["check"]: check for check in written["checks"]}
        self.assertEqual([by_name[name]["result"] for name in ("good", "bad", "lacking", "broken", "command")],
                         [PASS, FAIL, ABSENT, FAIL, FAIL])
        self.assertEqual(written["closing_line"], "1 checks passed, 3 failed, 1 not possible here")
        self.assertTrue(ledger.failed())
        self.assertEqual(written["device"], "cpu")
        self.assertEqual(by_name["good"]["figures"], {"of": 3})
        self.assertIn("no such key", by_name["broken"]["tail"])
        self.assertIn("ended with status 1: it went wrong", by_name["command"]["figure"])
        self.assertIn("it went wrong", by_name["command"]["tail"])
        self.assertIn(sys.executable, by_name["command"]["commands"][0])
        self.assertEqual(len(self.rows), 5)
        self.assertRegex(self.rows[1], r"^a  bad +FAIL +\d+\.\d s  2$")

    def test_a_program_that_does_not_end_is_ended_with_all_that_it_started(self):
        part = self.part(Ledger(self.path, resume=False))
        pid_file = self.path.with_name("pid")
        script = "sleep 60 & echo $! > %s; wait" % pid_file
        begin = time.monotonic()
        check = part.check("hangs", lambda run: run.call(["sh", "-c", script]), limit=3.5)
        self.assertLess(time.monotonic() - begin, 30)
        self.assertEqual(check["result"], FAIL)
        self.assertIn("sh did not end in", check["figure"])
        child = int(pid_file.read_text())
        for _ in range(100):  # its end is another process's matter, which may take a moment
            try:
                state = pathlib.Path("/proc/%d/stat" % child).read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                return
            if state == "Z":
                return
            time.sleep(0.1)
        self.fail("the program's child still runs")

    def test_a_part_that_is_over_makes_no_more_checks_and_the_next_part_does(self):
        ledger = Ledger(self.path, resume=False)
        made = []
        check = self.part(ledger, seconds=1).check("late", lambda run: made.append(1))
        self.assertEqual((check["result"], check["not_begun"], made), (ABSENT, True, []))
        self.assertEqual(self.part(ledger, name="b").check("next", lambda run: Outcome(PASS))["result"], PASS)

    def test_a_part_that_raises_is_a_check_that_failed(self):
        ledger = Ledger(self.path, resume=False)
        self.part(ledger).contain(lambda: [][0])
        self.assertEqual([(check["check"], check["result"]) for check in ledger.checks], [("all checks were made", FAIL)])

    def test_resuming_keeps_what_was_made_and_makes_what_was_not_begun(self):
        ledger = Ledger(self.path, resume=False, about={"device": "cpu"})
        self.part(ledger).check("good", lambda run: Outcome(PASS, "1"))
        self.part(ledger).check("bad", lambda run: Outcome(FAIL, "2"))
        self.part(ledger, seconds=0).check("late", lambda run: Outcome(PASS, "3"))
        again = Ledger(self.path, resume=True, about={"device": "cpu"})
        never = lambda run: self.fail("it was made again")
        for name in ("good", "bad"):
            self.part(again).check(name, never)
        self.assertEqual(self.part(again).check("late", lambda run: Outcome(PASS, "3"))["result"], PASS)
        self.assertEqual(again.closing_line(), "2 checks passed, 1 failed, 0 not possible here")
        self.assertIn("(kept)", self.rows[-2])
        with self.assertRaisesRegex(ValueError, "has device 'cpu', and this call 'cuda'"):
            Ledger(self.path, resume=True, about={"device": "cuda"})
        self.assertEqual(Ledger(self.path, resume=False).checks, [])

    def test_several_at_once_stay_in_order(self):
        ledger = Ledger(self.path, resume=False)
        named = [(str(i), lambda run, i=i: Outcome(PASS, str(i), {"left": run.left() > 0})) for i in range(8)]
        made = self.part(ledger).checks(named, at_once=3)
        self.assertEqual([check["figure"] for check in made], [str(i) for i in range(8)])
        self.assertEqual(len(json.loads(self.path.read_text())["checks"]), 8)

    def test_seconds_are_shared_by_weight_and_what_is_left_goes_to_the_later(self):
        weights = {"a": 1, "b": 2, "c": 3}
        self.assertEqual(part_seconds(60, weights, "a"), 10)
        self.assertEqual(part_seconds(58, weights, "b"), 58 * 2 / 5)  # a took 2 of its 10
        self.assertEqual(part_seconds(7, weights, "c"), 7)
        self.assertEqual(part_seconds(-3, weights, "c"), 0)

    def test_the_environment_and_the_statuses_of_a_call(self):
        part = self.part(Ledger(self.path, resume=False))
        script = "import os, sys; print(os.environ['WORD']); print('{\"n\": 3}'); sys.exit(9)"

        def call(run):
            finished = run.call([sys.executable, "-c", script], environment={"WORD": "x"}, statuses=(0, 9))
            return passed_if(finished.status == 9 and finished.out.startswith("x\n") and finished.last_json() == {"n": 3},
                             finished.out)

        self.assertEqual(part.check("call", call)["result"], PASS)


if __name__ == "__main__":
    assert check_list.LEAST < 3.5  # else the check that hangs is not begun
    unittest.main()
