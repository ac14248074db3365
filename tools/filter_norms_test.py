#!/usr/bin/env python3
"""Runs filter_norms.py on made-up checkpoints. Argument: filter_norms.py."""

import array
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

TOOL = os.path.abspath(sys.argv.pop(1))


def write(path, tensors):
    """tensors: name -> (shape, values)."""
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        block = array.array("f", values).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(block)]}
        data += block
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def run(*arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class FilterNormsTest(unittest.TestCase):
    def test_norms_of_filters_that_are_on_and_off(self):
        with tempfile.TemporaryDirectory() as folder:
            write(pathlib.Path(folder, "a/b/10/last.safetensors"), {
                # Norms 5, 13 and 2; the second filter is off, and a mask of weights leaves half of the third on.
                "conv1.weight": ([3, 2, 1, 1], [3, 4, 5, 12, 0, 2]),
                "conv1.mask": ([3, 2, 1, 1], [1, 1, 0, 0, 0, 1]),
                "conv2.weight": ([1, 1, 2, 2], [1, 1, 1, 1]),
                "conv2.mask": ([1], [0]),
                "fc.weight": ([1, 2], [100, 100]),
            })
            write(pathlib.Path(folder, "a/b/9/last.safetensors"), {"conv1.weight": ([1, 1, 1, 1], [-7])})
            result = run(folder)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(result.stdout.splitlines(), [
                "arm,seed,on_filters,on_q10,on_median,on_q90,off_filters,off_q10,off_median,off_q90",
                "a/b,9,1,7,7,7,0,,,",
                "a/b,10,2,2,5,5,2,2,13,13",
            ])

    def test_a_folder_without_runs_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            result = run(folder)
            self.assertEqual(result.returncode, 2)
            self.assertIn("no <arm>/<seed>/last.safetensors", result.stderr)
            result = run(os.path.join(folder, "none"))
            self.assertEqual(result.returncode, 2)
            self.assertIn("none: is no folder; give the output folder of an ablation", result.stderr)

    def test_help_and_what_cannot_be_printed(self):
        self.assertEqual(run("--help").returncode, 0)
        self.assertEqual(run().returncode, 2)
        self.assertEqual(run("x", "y").returncode, 2)
        with tempfile.TemporaryDirectory() as folder:
            write(pathlib.Path(folder, "a/9/last.safetensors"), {"conv1.weight": ([1, 1, 1, 1], [-7])})
            environment = dict(os.environ, HOME=folder)
            at_home = subprocess.run([sys.executable, TOOL, "~"], env=environment, capture_output=True, text=True)
            self.assertEqual((at_home.returncode, at_home.stdout.splitlines()[1:]), (0, ["a,9,1,7,7,7,0,,,"]))
            with open("/dev/full", "w") as full:
                for argument in (folder, "--help"):
                    result = subprocess.run([sys.executable, TOOL, argument], stdout=full, stderr=subprocess.PIPE, text=True)
                    self.assertEqual(result.returncode, 1)
                    self.assertEqual(result.stderr, "standard output cannot be written: No space left on device; "
                                     "what was printed is incomplete\n")


if __name__ == "__main__":
    unittest.main()
