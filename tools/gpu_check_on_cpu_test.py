#!/usr/bin/env python3
"""Runs all parts of gpu_check.py in their short form on the CPU. Arguments: gpu_check.py, the ablation program, a test."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

SCRIPT, ABLATION, TEST = (pathlib.Path(path).absolute() for path in sys.argv[1:4])
del sys.argv[1:4]
FOLDER = pathlib.Path(os.environ["TEST_TMPDIR"])


def call(*flags):
    command = [sys.executable, str(SCRIPT), "--device=cpu", "--short", "--minutes=13", f"--programs={ABLATION.parent}",
               f"--tests={TEST}", f"--json={FOLDER}/checks.json", *flags]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(result.stdout)
    return result.returncode, result.stdout, json.loads((FOLDER / "checks.json").read_text())


class GpuCheckOnCpuTest(unittest.TestCase):
    def test_all_parts(self):
        status, out, written = call()
        self.assertEqual([check["check"] for check in written["checks"] if check["result"] == "FAIL"], [])
        self.assertEqual(status, 0)
        self.assertEqual([check["check"] for check in written["checks"] if check.get("not_begun")], [])
        checks = {(check["part"], check["check"]): check for check in written["checks"]}
        result = lambda part, name: checks[part, name]["result"]
        # What a CPU can show:
        self.assertEqual(result("a", "the programs use the device"), "PASS")
        self.assertEqual(result("b", TEST.name), "PASS")
        for kind in ("dense", "dynamic", "static", "dynamic + cov"):
            self.assertEqual(result("c", f"ResNet-8 {kind}, 1 and 6 steps"), "PASS")
        self.assertEqual(result("d", "killed and resumed = undisturbed"), "PASS")
        self.assertEqual(result("e", "an epoch by every method"), "PASS")
        self.assertEqual(result("f", "step: dense"), "PASS")
        self.assertEqual(result("f", "epochs, 1 runs at once"), "PASS")
        self.assertEqual(result("g", "the digits' ablation"), "PASS")
        # What it cannot, though the programs ran:
        for part, name in (("a", "nvidia-smi"), ("d", "graphs = plain steps, dense"), ("d", "ablation with graphs = without"),
                           ("e", "steps that wait for the device"), ("e", "memory over 10 recordings"),
                           ("f", "goal: seconds an epoch and run, packed"), ("f", "epochs, 1 runs at once, MPS")):
            self.assertEqual(result(part, name), "ABSENT", name)
            self.assertIn("no meaning on a CPU", checks[part, name]["figure"])
        self.assertIn("nothing about a GPU", out)
        # A second call makes nothing again.
        status, out, again = call("--resume")
        self.assertEqual((status, again["checks"]), (0, written["checks"]))
        self.assertEqual(out.count("(kept)"), len(written["checks"]))


if __name__ == "__main__":
    unittest.main()
