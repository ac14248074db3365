#!/usr/bin/env python3
"""Gives gpu_check.py results that are right and wrong, and looks at what it makes of them. Argument: gpu_check.py."""

import array
import copy
import io
import contextlib
import json
import os
import pathlib
import struct
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(os.path.abspath(sys.argv.pop(1))).parent))
import gpu_check
from check_list import ABSENT, FAIL, PASS, CommandFailed, Finished, Outcome
from gpu_check import State

LIST = """network family:
  prunelab.ResNetCifar  a network
pruning strategy:
  prunelab.DynamicL1        smallest filters
  prunelab.NetworkSlimming  smallest scales
  prunelab.NoPruning        the control
regularizer:
  prunelab.Cov            decorrelates
  prunelab.NoRegularizer  no penalty
"""
TYPES = {"f": ("F32", 4), "d": ("F64", 8), "q": ("I64", 8)}


def write_state(path, tensors):
    """tensors: name -> (type code of array, values)."""
    header, data = {"__metadata__": {"training/total_epochs_read": "yes"}}, b""
    for name, (code, values) in tensors.items():
        block = array.array(code, values).tobytes()
        header[name] = {"dtype": TYPES[code][0], "shape": [len(values)], "data_offsets": [len(data), len(data) + len(block)]}
        data += block
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


TENSORS = {
    "conv1.weight": ("f", [3.0, 4.0]),
    "bn1.num_batches_tracked": ("q", [7]),
    "momentum/conv1.weight": ("f", [1.0, 2.0]),
    "mask/conv1": ("f", [1.0, 0.0]),
    "training/position": ("q", [0, 6, 48, 20, 1, 3, 0, 1]),
    "training/sums": ("d", [96.0, 0.1, 0.0, 0.0]),
}
NEAR = {"loss": 1e-12, "network": 1e-12, "momentum": 1e-12, "masks": 0.0}
ROUNDED = {"loss": 1e-7, "network": 1e-7, "momentum": 1e-6, "masks": 0.0}


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)


class StateTest(Folder):
    def state(self, **changes):
        """TENSORS with changes, whose names have __ for / and _w for .w."""
        path = self.folder / "state.safetensors"
        named = {name.replace("__", "/").replace("_w", ".w"): value for name, value in changes.items()}
        write_state(path, {**TENSORS, **named})
        return State.read(path)

    def test_distances_by_hand(self):
        reference = self.state()
        self.assertEqual(reference.mean_loss(), 2.0)
        self.assertEqual(gpu_check.distance(self.state(), reference), {"loss": 0, "network": 0, "momentum": 0, "masks": 0})
        other = self.state(conv1_weight=("f", [3.0, 3.0]), momentum__conv1_weight=("f", [1.0, 1.0]),
                           mask__conv1=("f", [0.0, 0.0]), training__sums=("d", [48.0, 0.1, 0.0, 0.0]))
        found = gpu_check.distance(other, reference)
        self.assertEqual((found["loss"], found["network"], found["masks"]), (0.5, 1 / 5, 0.5))
        self.assertAlmostEqual(found["momentum"], 1 / 5**0.5)

    def test_float64_is_compared_with_float32(self):
        self.assertEqual(gpu_check.distance(self.state(conv1_weight=("d", [3.0, 4.0])), self.state())["network"], 0)

    def test_what_is_missing_is_infinitely_far(self):
        state, short = self.state(), self.state()
        del short.tensors["momentum/conv1.weight"]
        self.assertEqual(gpu_check.distance(short, state)["momentum"], float("inf"))
        self.assertEqual(gpu_check.distance(state, short)["momentum"], float("inf"))

    def test_nan_is_no_agreement(self):
        nan = self.state(conv1_weight=("f", [3.0, float("nan")]))
        found = gpu_check.distance(nan, self.state())
        self.assertTrue(gpu_check.judged({"cpu32": ROUNDED, "device64": {**NEAR, **{"network": found["network"]}},
                                          "device32": ROUNDED}, True))

    def test_bands(self):
        good = {"cpu32": ROUNDED, "device64": NEAR, "device32": {name: 5 * value for name, value in ROUNDED.items()}}
        for first in (True, False):
            self.assertEqual(gpu_check.judged(good, first), [])
        for side, what, value, text in (("device64", "loss", 1e-7, "float64: loss off by 1.0e-07, and the band is 1e-09"),
                                        ("device64", "network", 1e-6, "float64: network"),
                                        ("device64", "masks", 1e-4, "float64: 0.01% of the masks differ"),
                                        # TF32 in the place of float32, and a filter masked that should not be
                                        ("device32", "momentum", 1e-3, "float32: momentum off by 1.0e-03, where the CPU"),
                                        ("device32", "masks", 0.1, "float32: 10.00% of the masks differ")):
            wrong = copy.deepcopy(good)
            wrong[side][what] = value
            faults = gpu_check.judged(wrong, True)
            self.assertEqual(len(faults), 1, faults)
            self.assertTrue(faults[0].startswith(text), faults)
        far = copy.deepcopy(good)
        far["device32"]["loss"] = 0.1
        self.assertEqual(len(gpu_check.judged(far, False)), 1)

    def test_a_program_that_recorded_nothing_does_not_pass_as_one_that_did(self):
        gpu_check.check_recorded(Finished(0, "{}", "", 1.0))
        warning = "the training goes on without CUDA graphs, which is slower"
        with self.assertRaisesRegex(CommandFailed, "were not recorded: " + warning):
            gpu_check.check_recorded(Finished(0, "{}", warning, 1.0))

    def test_graphs_are_compared_only_if_some_were_replayed(self):
        gpu_check.check_replayed({"recordings": 2, "replays": 40}, True)
        gpu_check.check_replayed({"recordings": 0, "replays": 0}, False)
        for printed, expected in (({"recordings": 0, "replays": 0}, True), ({"recordings": 2, "replays": 4}, False)):
            with self.assertRaisesRegex(CommandFailed, "recordings and"):
                gpu_check.check_replayed(printed, expected)

    def test_files_that_differ_are_named_with_their_tensors(self):
        a, b = self.folder / "a.safetensors", self.folder / "b.safetensors"
        write_state(a, TENSORS)
        write_state(b, TENSORS)
        self.assertEqual(gpu_check.same_files([(a, b)], "6 steps").result, PASS)
        write_state(b, {**TENSORS, "mask/conv1": ("f", [1.0, 1.0])})
        outcome = gpu_check.same_files([(a, b)], "6 steps")
        self.assertEqual(outcome.result, FAIL)
        self.assertIn("a.safetensors differs in 1 of 6 tensors: mask/conv1", outcome.figure)
        for pairs in ([], [(a, self.folder / "none")], [(self.folder / "none", self.folder / "none")]):
            self.assertEqual(gpu_check.same_files(pairs, "").result, FAIL)


class ResultsTest(Folder):
    def test_methods_are_those_that_are_listed(self):
        methods = gpu_check.methods_of(LIST)
        self.assertEqual(methods["pruning strategy"], ["DynamicL1", "NetworkSlimming", "NoPruning"])
        chosen = gpu_check.combinations(methods)
        self.assertEqual(len(chosen), 3 * 2 + 2)
        self.assertEqual(chosen["DynamicL1_with_Cov"], ("DynamicL1", "Cov"))
        self.assertEqual(chosen["only_Cov"], ("NoPruning", "Cov"))
        self.assertEqual(len(gpu_check.combinations(methods, at_most=1)), 2 + 1)
        config = gpu_check.methods_config(chosen, gpu_check.resnet(8))
        self.assertEqual(config.count("level {"), 8)
        self.assertIn("prunelab.NetworkSlimming] { epoch: 1 } } regularization", config)
        self.assertIn("training { epochs: 2 }", config)

    def report(self, *cases):
        return {"testsuites": [{"name": "Suite", "testsuite": [{"name": name, **more} for name, more in cases]}]}

    def test_tests_that_were_skipped_are_not_passed(self):
        good = ("Good", {"result": "COMPLETED"})
        skipped = ("NeedsGpu", {"result": "SKIPPED"})
        bad = ("Bad", {"result": "COMPLETED", "failures": [{"failure": "no"}]})
        outcome = gpu_check.outcome_of_tests(self.report(good, skipped), 0)
        self.assertEqual((outcome.result, outcome.figure), (PASS, "1 passed, 0 failed, 1 skipped"))
        self.assertEqual(gpu_check.outcome_of_tests(self.report(skipped), 0).result, ABSENT)
        self.assertEqual(gpu_check.outcome_of_tests(self.report(good), 1).result, FAIL)
        outcome = gpu_check.outcome_of_tests(self.report(good, bad), 1)
        self.assertEqual((outcome.result, outcome.figures["failed"]), (FAIL, ["Suite.Bad"]))

    def test_what_a_sanitizer_says(self):
        good = "[  PASSED  ] 3 tests.\n========= ERROR SUMMARY: 0 errors\n"
        self.assertEqual(gpu_check.judged_sanitizer(0, good).result, PASS)
        race = "[  PASSED  ] 3 tests.\n========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)\n"
        self.assertEqual(gpu_check.judged_sanitizer(99, race).result, FAIL)
        self.assertIn("1 hazard", gpu_check.judged_sanitizer(99, race).figure)
        self.assertEqual(gpu_check.judged_sanitizer(0, "[  PASSED  ] 3 tests.\n").result, FAIL)  # it did not report
        self.assertEqual(gpu_check.judged_sanitizer(0, "========= ERROR SUMMARY: 0 errors\n").result, FAIL)
        with self.assertRaises(gpu_check.NotPossible):
            gpu_check.judged_sanitizer(0, "[  PASSED  ] 0 tests.\n========= ERROR SUMMARY: 0 errors\n")

    def test_steps_that_wait(self):
        calm = {"steps": 20, "steps_with_updates": 5, "waiting_steps": 0, "waiting_steps_without_update": 0, "calls": {}}
        at_updates = {**calm, "waiting_steps": 5}
        always = {**calm, "waiting_steps": 20, "waiting_steps_without_update": 15}
        outcome = gpu_check.judged_waits({"calm": calm, "rigl": at_updates})
        self.assertEqual((outcome.result, outcome.figures["at_changes"]), (PASS, ["rigl"]))
        outcome = gpu_check.judged_waits({"calm": calm, "bad": always})
        self.assertEqual(outcome.result, FAIL)
        self.assertIn("1 wait in steps without a change of the masks (bad)", outcome.figure)
        self.assertEqual(gpu_check.judged_waits({"none": {**calm, "steps": 0}}).result, FAIL)
        self.assertEqual(gpu_check.judged_waits({}).result, FAIL)

    def test_memory_that_grows(self):
        flat = [{"process_bytes": 10 << 30, "reserved_bytes": 1 << 30}] * 100
        self.assertEqual(gpu_check.judged_growth(flat, 100).result, PASS)
        leak = [{"process_bytes": 10 << 30, "reserved_bytes": (1 << 30) + i * (1 << 20)} for i in range(100)]
        outcome = gpu_check.judged_growth(leak, 100)
        self.assertEqual(outcome.result, FAIL)
        self.assertIn("reserved_bytes +79.0 MiB", outcome.figure)
        self.assertEqual(gpu_check.judged_growth(flat[:50], 100).result, FAIL)

    def rows(self, *tops, filters="0.6", status="done"):
        return [{"arm": "a/b", "seed": str(i), "status": status, "test_top1": str(top), "filter_sparsity": filters}
                for i, top in enumerate(tops)]

    def test_accuracies(self):
        cpu = self.rows(0.97, 0.96, 0.98)
        self.assertEqual(gpu_check.compared_accuracy(self.rows(0.98, 0.96, 0.98), cpu, 0.03).result, PASS)
        for wrong, text in ((self.rows(0.81, 0.8, 0.82), "a/b: accuracy differs by -16.0 points"),
                            (self.rows(0.97, 0.96, 0.98, filters="0.5"), "another share of filters"),
                            (self.rows(0.97, 0.96), "not all runs are done"),
                            (self.rows(0.97, 0.96, 0.98, status="missing"), "not all runs are done"),
                            (self.rows(0.97, 0.96, 0.98, status="failed"), "not all runs are done")):
            outcome = gpu_check.compared_accuracy(wrong, cpu, 0.03)
            self.assertEqual(outcome.result, FAIL)
            self.assertIn(text, outcome.figure)
        left_out = [{**row, "arm": "c/d"} for row in self.rows(0, status="missing")]
        self.assertEqual(gpu_check.compared_accuracy(cpu + left_out, cpu + left_out, 0.03).result, PASS)
        self.assertEqual(gpu_check.compared_accuracy(left_out, left_out, 0.03).result, FAIL)

    def test_losses_of_methods(self):
        outputs = {side: self.folder / side for side in ("device", "cpu")}

        def write(side, name, loss, status="done"):
            folder = outputs[side] / name / "1"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "result.json").write_text(json.dumps({"status": status}))
            (folder / "epochs.jsonl").write_text(json.dumps({"train_loss": loss}) + "\n")

        for name in ("one", "two"):
            write("device", name, 1.02)
            write("cpu", name, 1.0)
        self.assertEqual(gpu_check.compared_methods(["one", "two"], outputs).result, PASS)
        for loss, status in ((1.5, "done"), (None, "done"), (1.0, "diverged")):
            write("device", "two", loss, status)
            outcome = gpu_check.compared_methods(["one", "two"], outputs)
            self.assertEqual(outcome.result, FAIL)
            self.assertTrue(outcome.figure.startswith("two"), outcome.figure)
        self.assertEqual(gpu_check.compared_methods([], outputs).result, FAIL)


# A program in the place of step_benchmark: its states are those of plain.safetensors by the plain plan, and otherwise
# those of device.safetensors.
PROGRAM = """#!{python}
import shutil, sys
flags = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:] if "=" in word)
state = "{folder}/" + ("plain" if flags.get("skipping") == "false" else "device") + ".safetensors"
for step in flags["save_after"].split(","):
    shutil.copy(state, flags["save_to"] + "/step" + step + ".safetensors")
print("{{}}")
"""


class WholeTest(Folder):
    def program(self, off):
        """One whose device is off by so much in a weight."""
        for name, value in (("plain", 4.0), ("device", 4.0 + off)):
            write_state(self.folder / (name + ".safetensors"), {**TENSORS, "conv1.weight": ("d", [3.0, value])})
        path = self.folder / "step_benchmark"
        path.write_text(PROGRAM.format(python=sys.executable, folder=self.folder))
        path.chmod(0o755)

    def call(self, *flags):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = gpu_check.main(["--device=cpu", "--short", f"--programs={self.folder}",
                                     f"--json={self.folder}/checks.json", *flags])
        return status, out.getvalue(), json.loads((self.folder / "checks.json").read_text())

    def test_a_device_that_computes_right_passes_and_one_that_computes_wrong_fails(self):
        self.program(off=0.0)
        status, out, written = self.call("--parts=c")
        self.assertEqual((status, written["pass"], written["fail"]), (0, len(gpu_check.KINDS), 0), out)
        self.program(off=1e-6)
        status, out, written = self.call("--parts=c")
        self.assertEqual((status, written["pass"], written["fail"]), (1, 0, len(gpu_check.KINDS)), out)
        self.assertIn("float64: network off by 2.0e-07, and the band is 1e-08", written["checks"][0]["figure"])
        self.assertIn("--dtype=float64", " ".join(written["checks"][0]["commands"]))
        # What was made is kept, right or wrong.
        self.program(off=0.0)
        self.assertEqual(self.call("--parts=c", "--resume")[0], 1)
        self.assertEqual(self.call("--parts=c")[0], 0)

    def test_a_missing_program_fails_and_stops_no_other_part(self):
        status, out, written = self.call("--parts=a,c")
        self.assertEqual(status, 1)
        by_name = {check["check"]: check for check in written["checks"]}
        self.assertEqual(by_name["the machine"]["result"], PASS)
        self.assertEqual(by_name["the programs"]["result"], FAIL)
        self.assertIn("there is no program ablation in", by_name["the programs"]["figure"])
        self.assertEqual(sum(check["part"] == "c" and check["result"] == FAIL for check in written["checks"]), 4)
        self.assertRegex(out.splitlines()[-1], r"^\d+ checks passed, \d+ failed, \d+ not possible here \(")

    def test_what_only_a_gpu_has_is_never_passed_on_a_cpu(self):
        _, arguments = gpu_check.parse(["--device=cpu"])
        machine = gpu_check.Machine(arguments, self.folder)
        outcome = machine.without_meaning(Outcome(PASS, "equal"), "it has no graphs")
        self.assertEqual((outcome.result, outcome.figure), (ABSENT, "no meaning on a CPU: it has no graphs (ran: equal)"))
        self.assertEqual(machine.without_meaning(Outcome(FAIL, "differ"), "").result, FAIL)
        machine.on_gpu = True
        self.assertEqual(machine.without_meaning(Outcome(PASS, "equal"), "").result, PASS)

    def test_flags(self):
        for flags, text in ((["--parts=a,x"], "there is no 'x'; the parts are a, b, c, d, e, f, g"),
                            (["--minutes=0"], "--minutes=0.0: must be above 0"),
                            (["--device=gpu"], "invalid choice: 'gpu'"),
                            (["--resum"], "did you mean --resume?")):
            error = io.StringIO()
            with self.assertRaises(SystemExit) as end, contextlib.redirect_stderr(error):
                gpu_check.parse(flags)
            self.assertEqual(end.exception.code, 2)
            self.assertIn(text, error.getvalue())


if __name__ == "__main__":
    unittest.main()
