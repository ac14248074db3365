#!/usr/bin/env python3
"""Tests of new_strategy on a scratch copy of what it edits, and of what it writes, compiled.

Arguments: new_strategy.py, ml/pruning/BUILD.bazel, and the conformance test of the strategy new_strategy_example, which
new_strategy.py wrote and BUILD.bazel compiled.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOOL, BUILD, CONFORMANCE = [os.path.abspath(argument) for argument in sys.argv[1:4]]


class NewStrategyTest(unittest.TestCase):
    """Runs the tool as `bazel run` does."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = pathlib.Path(scratch.name)
        self.pruning = self.root / "ml/pruning"
        self.pruning.mkdir(parents=True)
        shutil.copyfile(BUILD, self.pruning / "BUILD.bazel")
        network = self.root / "ml/network/network.proto"
        network.parent.mkdir()
        network.write_text("message Network {\n}\n", encoding="utf-8")

    def contents(self):
        """Every file of the tree."""
        return {str(path.relative_to(self.root)): path.read_text(encoding="utf-8")
                for path in self.root.rglob("*") if path.is_file()}

    def run_tool(self, *arguments, workspace=True):
        """The finished process."""
        environment = {key: value for key, value in os.environ.items() if key != "BUILD_WORKSPACE_DIRECTORY"}
        if workspace:
            environment["BUILD_WORKSPACE_DIRECTORY"] = str(self.root)
        command = [sys.executable, TOOL, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def refused(self, *arguments, workspace=True):
        """The message of a refusal that changed nothing."""
        before = self.contents()
        process = self.run_tool(*arguments, workspace=workspace)
        self.assertEqual(process.returncode, 2, process)
        self.assertEqual(self.contents(), before)
        self.assertEqual(len(process.stderr.splitlines()), 1)
        return process.stderr

    def test_writes_a_strategy(self):
        before = self.contents()
        process = self.run_tool("soft_filter_pruning")
        self.assertEqual(process.returncode, 0, process.stderr)
        after = self.contents()
        added = {f"ml/pruning/soft_filter_pruning.{kind}" for kind in ("proto", "cc")}
        self.assertEqual(set(after) - set(before), added)
        for path in added:
            self.assertNotIn("@", after[path])
            self.assertIn("SoftFilterPruning", after[path])
        # One function is left to write, and nothing is lost from what was there.
        self.assertEqual(after["ml/pruning/soft_filter_pruning.cc"].count("write it"), 1)
        build = "ml/pruning/BUILD.bazel"
        call = '\npruning_strategy(\n    name = "soft_filter_pruning",\n    config = "rate: 0.6",\n)\n'
        self.assertEqual(after[build].count(call), 1)
        self.assertEqual(after[build].replace(call, ""), before[build])
        # A second call finds the name taken; another name is added beside it.
        self.assertIn("ml/pruning/soft_filter_pruning.cc exists", self.refused("soft_filter_pruning"))
        self.assertEqual(self.run_tool("oscillation").returncode, 0)
        self.assertIn('    name = "oscillation",\n', self.contents()[build])

    def test_a_strategy_is_small(self):
        before = self.contents()
        self.assertEqual(self.run_tool("oscillation").returncode, 0)
        after = self.contents()
        lines = {path: len(after[path].splitlines()) - len(before.get(path, "").splitlines())
                 for path in after if after[path] != before.get(path)}
        print("a new strategy:", lines)
        self.assertEqual(len(lines), 3)
        self.assertLessEqual(sum(lines.values()), 55)

    def test_lines_stay_within_the_limit(self):
        for length in (1, 8, 17, 30):
            self.assertEqual(self.run_tool("x" * length).returncode, 0)
        for path, contents in self.contents().items():
            for line in contents.splitlines():
                self.assertLessEqual(len(line), 120, path)

    def test_takes_the_spelling_of_the_message(self):
        process = self.run_tool("snap", "--message=SNAP")
        self.assertEqual(process.returncode, 0, process.stderr)
        after = self.contents()
        self.assertIn("message SNAP {", after["ml/pruning/snap.proto"])
        self.assertIn("Scores(const SNAP& parameters", after["ml/pruning/snap.cc"])
        for message in ("Snapper", "snap", "S-NAP", "", "SnAp"):
            self.assertIn("is no message of clasp", self.refused("clasp", f"--message={message}"))

    def test_refuses_names(self):
        for name in ("Oscillation", "soft-filter", "2fast", "a_2", "_x", "x_", "a__b", "", "../evil", "a_norm", "mö"):
            self.assertIn("is no name for a strategy", self.refused(name), name)
        self.assertIn("at most 30", self.refused("x" * 31))
        self.assertIn("is taken", self.refused("dynamic_l1"))
        self.assertIn("is taken", self.refused("layer_ranking"))
        self.assertIn("ml/network/network.proto defines that", self.refused("network"))

    def test_refuses_wrong_use(self):
        self.assertIn("one name is needed", self.refused())
        self.assertIn("one name is needed", self.refused("one", "two"))
        self.assertIn("one name is needed", self.refused("oscillation", "--force"))
        self.assertIn("one name is needed", self.refused("--message=Oscillation"))
        self.assertIn("one name is needed", self.refused("--force"))
        self.assertIn("bazel run //tools:new_strategy -- oscillation", self.refused("oscillation", workspace=False))
        shutil.rmtree(self.pruning)
        self.assertIn("BUILD.bazel is not there", self.refused("oscillation"))

    def test_what_it_writes_fails_only_where_the_author_must_write(self):
        environment = dict(os.environ, PRUNING_STRATEGY_ACTS_ON="*;;*",
                           PRUNING_STRATEGY_CONFIGS="rate: 0.6;;rate: 0.5 layers { exclude: 'stem' }")
        for variable in ("TEST_SHARD_STATUS_FILE", "XML_OUTPUT_FILE", "GTEST_OUTPUT"):
            environment.pop(variable, None)
        process = subprocess.run([CONFORMANCE], env=environment, capture_output=True, text=True, check=False)
        output = process.stdout
        self.assertEqual(process.returncode, 1, process)
        passed = re.findall(r"^\[       OK \] \S+\.(\w+)/", output, re.MULTILINE)
        self.assertEqual(set(passed), {"RefusesBadParameters"})
        self.assertEqual(len(passed), 4)
        failures = re.split(r"^\S+:\d+: Failure\n", output, flags=re.MULTILINE)[1:]
        self.assertGreaterEqual(len(failures), 4 * 6)
        for failure in failures:
            self.assertIn("the strategy gives it no scores", failure)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
