#!/usr/bin/env python3
"""Opens the report on made-up results in a headless Chromium: drawn whole, offline, with the numbers of results.csv.

Arguments: the report program, report_pictures_chromium.py. If the environment has SCREENSHOTS=folder, the test writes
pictures there to look at.
"""

import csv
import importlib.util
import json
import math
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

REPORT, DRIVER = [os.path.abspath(argument) for argument in sys.argv[1:3]]

specification = importlib.util.spec_from_file_location("chromium", DRIVER)
chromium = importlib.util.module_from_spec(specification)
specification.loader.exec_module(chromium)


def crc32c(data):
    if not crc32c.table:
        for byte in range(256):
            for _ in range(8):
                byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
            crc32c.table.append(byte)
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ crc32c.table[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


crc32c.table = []


def record_line(record):
    text = json.dumps(record, separators=(",", ":"))
    return f'{text[:-1]},"crc32c":{crc32c(text.encode())}}}\n'


def made_up_run(folder, arm, seed, epochs, layers, lift, status="done", check=True):
    """Writes a run whose accuracy is higher by `lift`."""
    noise = random.Random(f"{arm}{seed}")
    path = pathlib.Path(folder, arm, str(seed))
    path.mkdir(parents=True)
    pruned = not arm.startswith("none")
    lines, tops, returned = [], [], 0
    for epoch in range(epochs):
        share = min(1, (epoch + 1) / epochs * 2)
        record = {
            "epoch": epoch, "learning_rate": 0.1, "train_loss": 2.3 * math.exp(-4 * share) + 0.01 * noise.random(),
            "train_top1": 0.1 + 0.85 * share, "test_loss": 2.3 * math.exp(-3 * share) + 0.02 * noise.random(),
            "test_top1": 0.1 + 0.8 * share + lift + 0.004 * noise.gauss(0, 1) * share, "test_top5": 0.5 + 0.49 * share,
            "penalty": 0.3 * (1 - 0.5 * share) if arm.endswith("cov") else 0,
            "penalty_gradient_ratio": 0.1 * share if arm.endswith("cov") else 0,
            "mean_abs_rho": 0.1 + 0.2 * share * noise.random(), "mask_updates": 5 if pruned else 0,
            "mask_changes": noise.randrange(40) if pruned else 0,
            "returned_filters": noise.randrange(9) if pruned else 0,
            "filter_sparsity": 0.6 if pruned else 0, "weight_sparsity": 0.8 if pruned else 0,
            "paper_sparsity": 0.79 if pruned else 0, "live_parameters": 10000 if pruned else 77754,
            "live_macs": 200000 if pruned else 763520,
            "live_filters": {
                f"layer{i}.conv": (8 + i if epoch % (i + 2) else 4) if pruned else 16 for i in range(layers)
            },
            "diverged": status == "diverged" and epoch == epochs - 1,
        }  # fmt: skip
        lines.append(record_line(record))
        tops.append(record["test_top1"])
        returned += record["returned_filters"]
    (path / "epochs.jsonl").write_text("".join(lines))
    (path / "timing.jsonl").write_text(record_line({"epoch": 0, "seconds": 1.5, "images": 1000}))
    result = {
        "arm": arm, "seed": seed, "status": status, "epochs": epochs,
        "test_top1": record["test_top1"], "test_top5": record["test_top5"], "test_loss": record["test_loss"],
        "validation_top1": None, "test_top1_best": max(tops), "filter_sparsity": record["filter_sparsity"],
        "weight_sparsity": record["weight_sparsity"], "paper_sparsity": record["paper_sparsity"], "parameters": 77754,
        "live_parameters": record["live_parameters"], "macs": 763520, "live_macs": record["live_macs"],
        "mean_abs_rho": record["mean_abs_rho"], "returned_filters": returned, "run_id": f"{seed:064d}",
    }  # fmt: skip
    if pruned and status == "done":
        result.update({"physical_parameters": 9000, "physical_macs": 190000, "removed_test_top1": record["test_top1"]})
        (path / "latency.json").write_text(record_line({"latency_64_dense": 0.03, "latency_64_removed": 0.02}))
    (path / "result.json").write_text(json.dumps(result))
    pruning = "DynamicL1" if pruned else "NoPruning"
    weight, regularizer = ("", "Cov") if arm.endswith("cov") else ("weight: 0 ", "NoRegularizer")
    (path / "config.textproto").write_text(
        "training { sgd {} schedule { constant {} } }\n"
        f"pruning {{\n  [type.googleapis.com/prunelab.{pruning}] {{}}\n}}\n"
        f"regularization {{ {weight}regularizer {{\n  [type.googleapis.com/prunelab.{regularizer}] {{}}\n}} }}\n"
    )
    (path / "provenance.json").write_text('{"code_revision": "0123abc", "cpu": "a CPU", "threads": 1, "device": "cpu"}')


def ablation_text(prunings, seeds, comparisons=True):
    text = 'name: "made_up"\ndescription: "Does it show what is there? <b>bold</b>"\nfactor { name: "pruning" '
    dynamic = " patch { pruning { [type.googleapis.com/prunelab.DynamicL1] {} } }"
    text += " ".join(
        f'level {{ name: "{name}"{"" if name.startswith("none") else dynamic} }}' for name in prunings
    )
    cov = "patch { regularization { regularizer { [type.googleapis.com/prunelab.Cov] {} } } }"
    text += ' }\nfactor { name: "regularizer" level { name: "none" } level { name: "cov" ' + cov + " } }\n"
    text += f"seeds {{ first: 1 count: {seeds} }}\n"
    if comparisons:
        for name in prunings[:4]:
            text += f'comparison {{ treatment: "{name}/cov" control: "{name}/none" margin: 0.005 }}\n'
        text += f'comparison {{ treatment: "{prunings[1]}/cov" control: "{prunings[1]}/none" metric: TEST_LOSS }}\n'
    return text


def run_report(results, output=None):
    command = [REPORT, f"--results={results}"] + ([f"--output={output}"] if output else [])
    return subprocess.run(command, capture_output=True, text=True, check=False)


class ReportPageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = os.path.join(cls.scratch.name, "made_up")
        prunings = ["none", "half", "<i>most"]
        for name, lift in zip(prunings, (0, 0.02, 0.0)):
            for seed in range(1, 11):
                made_up_run(cls.folder, f"{name}/none", seed, 30, 9, 0)
                made_up_run(cls.folder, f"{name}/cov", seed, 30, 9, lift)
        made_up_run(cls.folder, "half/none", 11, 3, 9, 0, status="diverged")
        pathlib.Path(cls.folder, "ablation.textproto").write_text(ablation_text(prunings, 11))
        report = run_report(cls.folder)
        assert report.returncode == 0, report.stderr
        cls.url = pathlib.Path(cls.folder, "report.html").as_uri()
        cls.browser = chromium.Chromium().__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.browser.__exit__()
        cls.scratch.cleanup()

    def open(self, url=None, **options):
        return self.browser.open(
            url or self.url, ready="document.body && document.body.dataset.ready == '1'", **options
        )

    def keep(self, page, name):
        if os.environ.get("SCREENSHOTS"):
            pathlib.Path(os.environ["SCREENSHOTS"], name + ".png").write_bytes(page.screenshot())

    def test_every_plot_is_drawn_offline_in_both_colour_schemes_and_sizes(self):
        for width, height in ((1200, 900), (390, 800)):
            for dark in (False, True):
                page = self.open(width=width, height=height, dark=dark)
                self.assertEqual(page.messages(), [])
                plots = page.value(
                    "Array.from(document.querySelectorAll('.plot')).map((e) => [e.id,"
                    " e.querySelectorAll('.main-svg').length,"
                    " e.querySelectorAll('.scatterlayer .trace, .heatmaplayer image, .hm').length])"
                )
                self.assertGreaterEqual(len(plots), 10)  # eight and a forest plot for each of two metrics
                for name, svgs, traces in plots:
                    self.assertGreater(svgs, 0, name)
                    self.assertGreater(traces, 0, name)
                self.assertFalse(
                    page.value("document.documentElement.scrollWidth > window.innerWidth + 1"), "it overflows"
                )
                background = page.value("getComputedStyle(document.body).backgroundColor")
                self.assertEqual(background, "rgb(20, 23, 27)" if dark else "rgb(246, 247, 249)")
                self.keep(page, f"{'phone' if width < 600 else 'desk'}_{'dark' if dark else 'light'}")

    def test_it_follows_the_colour_scheme_and_prints(self):
        page = self.open()
        ink = "getComputedStyle(document.querySelector('#accuracy .xtick text')).fill"
        light = page.value(ink)
        page.media(dark=True)
        page.wait(f"{ink} != '{light}'")
        page.value("window.dispatchEvent(new Event('beforeprint'))")
        page.wait(f"{ink} == '{light}'")
        page.value("window.dispatchEvent(new Event('afterprint'))")
        page.wait(f"{ink} != '{light}'")
        page.media(print_=True)
        self.assertEqual(page.value("getComputedStyle(document.querySelector('.controls')).display"), "none")
        self.assertEqual(page.messages(), [])
        self.keep(page, "print")

    def test_its_numbers_are_those_of_results_csv(self):
        page = self.open()
        shown = page.value(
            "Array.from(document.querySelectorAll('#runs tbody tr')).map((tr) => Object.fromEntries("
            "Array.from(tr.cells).map((td) => [td.dataset.column, td.dataset.value])))"
        )
        with open(os.path.join(self.folder, "results.csv"), newline="") as file:
            expected = list(csv.DictReader(file))
        self.assertEqual(len(expected), 66)  # including the missing runs
        self.assertEqual(shown, expected)
        arms = page.value(
            "Array.from(document.querySelectorAll('#arms tbody tr')).map((tr) => Object.fromEntries("
            "Array.from(tr.cells).map((td) => [td.dataset.column, td.textContent])))"
        )
        self.assertEqual([arm["arm"] for arm in arms][-1], "<i>most/cov")
        for arm in arms:
            values = [float(r["test_top1"]) for r in expected if r["arm"] == arm["arm"] and r["status"] == "done"]
            mean = sum(values) / len(values)
            sd = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
            self.assertEqual(arm["test_top1"], f"{100 * mean:.2f} \u00b1 {100 * sd:.2f}")

    def test_verdicts_and_notes_are_there_and_html_in_names_is_text(self):
        page = self.open()
        verdicts = page.value("Array.from(document.querySelectorAll('.verdict b')).map((e) => e.textContent)")
        with open(os.path.join(self.folder, "comparisons.json")) as file:
            comparisons = json.load(file)
        self.assertEqual(verdicts, [c["verdict"] for c in comparisons])
        self.assertEqual(verdicts[1], "better")
        notes = page.value("document.getElementById('notes').innerText")
        self.assertIn("of 66 runs 5 are missing", notes)
        self.assertIn("1 run diverged", notes)
        self.assertIn(
            "Does it show what is there? <b>bold</b>", page.value("document.querySelector('.description').innerText")
        )
        self.assertEqual(page.value("document.querySelectorAll('i, .description b').length"), 0)

    def test_tables_sort_and_menus_change_the_plots(self):
        page = self.open()
        heading = (
            "Array.from(document.querySelectorAll('#arms th')).find((e) => e.textContent.startsWith('test top-1'))"
        )
        page.value(f"{heading}.click()")
        cells = "document.querySelectorAll('#arms td[data-column=test_top1]')"
        values = f"Array.from({cells}).map((e) => Number(e.dataset.value))"
        descending = page.value(values)
        self.assertEqual(descending, sorted(descending, reverse=True))
        page.value(f"{heading}.click()")
        self.assertEqual(page.value(values), sorted(descending))
        for plot in ("accuracy", "loss", "tradeoff", "live"):
            for index in range(page.value(f"document.querySelectorAll('[data-plot={plot}] select').length")):
                select = f"document.querySelectorAll('[data-plot={plot}] select')[{index}]"
                for option in range(page.value(f"{select}.options.length")):
                    page.value(f"{select}.selectedIndex = {option}; {select}.dispatchEvent(new Event('change'))")
                    page.value("new Promise((done) => setTimeout(done, 50))")
        self.assertEqual(page.messages(), [])

    def test_a_measure_of_a_plot_that_has_no_card_gets_one(self):
        text = pathlib.Path(path_of(self.url)).read_text()
        self.assertEqual(text.count('"plot":"correlation"'), 1)
        other = pathlib.Path(self.scratch.name, "other.html")
        other.write_text(text.replace('"plot":"correlation"', '"plot":"another"'))
        page = self.open(other.as_uri())
        self.assertEqual(page.messages(), [])
        self.assertEqual(page.value("document.querySelector('#another').parentNode.firstChild.textContent"), "mean |rho|")
        self.assertGreater(page.value("document.querySelectorAll('#another .scatterlayer .trace').length"), 0)

    def test_it_says_how_to_repeat_it(self):
        page = self.open()
        lines = page.value("document.getElementById('command').textContent").split("\n")
        self.assertEqual(lines[0], f"cp {self.folder}/ablation.textproto made_up_again.textproto")
        self.assertEqual(lines[1], "git checkout 0123abc")
        self.assertEqual(
            lines[2],
            "./bazelw run //experiments:ablation -- --config=made_up_again.textproto --device=cpu"
            " --output=runs/made_up_again",
        )
        self.assertIn("seeds { first: 1 count: 11 }", page.value("document.getElementById('config').textContent"))

    def test_links_lead_to_the_records(self):
        page = self.open()
        links = page.value("Array.from(document.querySelectorAll('#runs a')).map((a) => a.href)")
        self.assertEqual(len(links), 61)
        for link in links:
            path = pathlib.Path(path_of(link))
            self.assertTrue((path / "result.json").exists(), link)

    def test_a_thousand_runs(self):
        folder = os.path.join(self.scratch.name, "thousand")
        prunings = [f"p{i}" for i in range(10)]
        prototype = os.path.join(self.scratch.name, "prototype")
        for i, name in enumerate(prunings):
            for regularizer in ("none", "cov"):
                made_up_run(prototype, f"{name}/{regularizer}", 1, 300, 20, 0.001 * i)
                source = pathlib.Path(prototype, name, regularizer, "1")
                result = json.loads((source / "result.json").read_text())
                for seed in range(1, 51):
                    target = pathlib.Path(folder, name, regularizer, str(seed))
                    target.mkdir(parents=True)
                    for file in ("epochs.jsonl", "timing.jsonl", "config.textproto", "provenance.json"):
                        os.link(source / file, target / file)
                    (target / "result.json").write_text(json.dumps(dict(result, seed=seed)))
        pathlib.Path(folder, "ablation.textproto").write_text(ablation_text(prunings, 50))
        # The time (10 s at most on two free cores) is only printed: machines may be busy, and builds sanitized.
        start = time.time()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = run_report(folder)
        seconds = time.time() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.assertEqual(report.returncode, 0, report.stderr)
        size = os.path.getsize(os.path.join(folder, "report.html"))
        print(f"1,000 runs of 300 epochs: {seconds:.1f} s ({after.ru_utime - before.ru_utime:.1f} s of CPU), "
              f"at most {after.ru_maxrss / 1024:.0f} MiB, report.html {size / 1e6:.2f} MB")  # fmt: skip
        self.assertLess(size, 6e6)
        self.assertLess(after.ru_maxrss, 1024 * 1024)  # KiB; including Chromium's, which is larger
        page = self.open(pathlib.Path(folder, "report.html").as_uri())
        self.assertEqual(page.messages(), [])
        points = page.value(
            "Math.max(...JSON.parse(document.getElementById('curves').textContent).map((c) => c.test_top1.x.length))"
        )
        self.assertLessEqual(points, 200)
        self.assertGreaterEqual(points, 50)

    def test_bad_arguments(self):
        for arguments, expected in (
            ([], "--results is missing"),
            (["--results=/nowhere/at/all"], "is no folder"),
            (["--results=" + self.folder, "more"], "is not a flag"),
        ):
            run = subprocess.run([REPORT] + arguments, capture_output=True, text=True, check=False)
            self.assertEqual(run.returncode, 2)
            self.assertIn(expected, run.stderr)


def path_of(url):
    return urllib.parse.unquote(urllib.parse.urlparse(url).path)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
