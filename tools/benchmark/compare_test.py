#!/usr/bin/env python3
"""Tests compare.py with programs that answer what they are told to. Argument: its path."""

import argparse
import importlib.util
import itertools
import json
import os
import pathlib
import stat
import statistics
import sys
import tempfile
import unittest

FILE = os.path.abspath(sys.argv.pop(1))
spec = importlib.util.spec_from_file_location("compare", FILE)
compare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compare)

# Both note each time that they measure, ours also its beginning.
PROGRAM = """#!%s
import json, pathlib, sys
with open(%r, "a") as log: log.write("ours\\n")
n = pathlib.Path(%r).read_text().count("ours")
print(json.dumps({"milliseconds": 10.0 * n, "cpu_milliseconds": 20.0, "peak_bytes": 1e6}))
"""
PEER = """
import json, sys
assert "--on_request" in sys.argv
slow = "--compile" in sys.argv
if slow and %r: sys.exit("there is no compiler")
with open(%r, "a") as log: log.write("warm\\n")
print("a library's message")
print(json.dumps({"ready": True}), flush=True)
for n, _ in enumerate(sys.stdin):
    with open(%r, "a") as log: log.write("compiled\\n" if slow else "eager\\n")
    factor = 3 if slow else [2, 4, 3, 2, 3, 5, 3][n]
    print(json.dumps({"milliseconds": 10.0 * (n + 1) * factor, "cpu_milliseconds": 60.0, "peak_bytes": 2e6}), flush=True)
"""


class CompareTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.log = self.folder / "log"
        self.log.touch()
        self.program = self.folder / "step_benchmark"
        self.program.write_text(PROGRAM % (sys.executable, str(self.log), str(self.log)))
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self.peer(compiles=True)

    def peer(self, *, compiles):
        compare.PEER = self.folder / "peer.py"
        compare.PEER.write_text(PEER % (not compiles, str(self.log), str(self.log)))

    def arguments(self, **changes):
        values = dict(program=str(self.program), steps=4, batch=8, threads=1, device="cpu", rounds=7, no_peer=False,
                      no_eager=False, no_compile=False, graph=False, masks="masks.safetensors")
        return argparse.Namespace(**{**values, **changes})

    def test_rounds_alternate_and_a_ratio_is_a_rounds_own(self):
        ours, peers = compare.measure("dense", self.arguments())
        self.assertEqual(self.log.read_text().split(), ["warm", "warm"] + ["ours", "eager", "compiled"] * 7)
        self.assertEqual([result["milliseconds"] for result in ours], [10.0 * n for n in range(1, 8)])
        # 20, 80, 90, 80, 150, 300 and 210 ms, against three times 10, 20, ... 70.
        self.assertEqual(statistics.median(result["milliseconds"] for result in peers["eager"]), 90)
        self.assertEqual(statistics.median(result["milliseconds"] for result in peers["compile"]), 120)

    def test_the_better_of_pytorchs_steps_counts(self):
        row = compare.row("dense", self.arguments())
        self.assertEqual((row["best"], row["ratio"]), ("eager", 3))
        row = compare.row("dense", self.arguments(no_eager=True))
        self.assertEqual(row["best"], "compile")

    def test_the_median_of_ratios_is_not_the_ratio_of_medians(self):
        # Ours takes 10, 20, ... 70 ms and eager 2, 4, 3, 2, 3, 5 and 3 times as long.
        row = compare.row("dense", self.arguments(no_compile=True))
        self.assertEqual(row["ratio"], 3)
        self.assertEqual(row["interval"], [2, 5])
        medians = [statistics.median(r["milliseconds"] for r in side) for side in (row["peers"]["eager"], row["ours"])]
        self.assertEqual(medians[0] / medians[1], 2.25)

    def test_what_does_not_work_is_left_out(self):
        self.peer(compiles=False)
        _, peers = compare.measure("dense", self.arguments())
        self.assertEqual(list(peers), ["eager"])
        with self.assertRaisesRegex(RuntimeError, "there is no compiler"):
            compare.measure("dense", self.arguments(no_eager=True))

    def test_of_a_sweep_eight_runs_are_added_up(self):
        compare.PEER.write_text(compare.PEER.read_text().replace("[2, 4, 3, 2, 3, 5, 3][n]", "1"))
        ours, peers = compare.measure("sweep", self.arguments(rounds=1, no_compile=True))
        self.assertEqual(peers["eager"][0]["milliseconds"], 10.0 * sum(range(1, 9)))
        self.assertEqual(ours[0]["cpu_milliseconds"], 8 * 20.0)

    def test_intervals_have_the_median_often_enough(self):
        """By all ways in which n values may lie below or above the median that they are drawn around."""
        for n in range(1, 13):
            interval = compare.median_interval(list(range(n)))
            if interval is None:
                self.assertLess(n, 6)
                continue
            low, high = interval
            self.assertEqual(low + high, n - 1)
            covered = narrower = 0
            for below in itertools.product((True, False), repeat=n):
                covered += low + 1 <= sum(below) <= high
                narrower += low + 2 <= sum(below) <= high - 1
            self.assertGreaterEqual(covered / 2**n, 0.95)
            self.assertLess(narrower / 2**n, 0.95, "a narrower one would do")

    def test_few_rounds_claim_nothing(self):
        self.assertEqual(compare.with_interval([3.0]), "3.00 (1 round)")
        self.assertEqual(compare.with_interval([1.0, 2.0, 4.0]), "2.00 (3 rounds: 1.00 to 4.00)")
        self.assertEqual(compare.with_interval([float(n) for n in range(1, 16)], " %"), "8.00 % [4.00, 12.00]")


if __name__ == "__main__":
    unittest.main()
