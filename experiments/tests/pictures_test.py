#!/usr/bin/env python3
"""A user's pictures in all programs: what each program says was left out, and which pictures make another run.

Usage: pictures_test.py ABLATION EVALUATE COMPRESS
"""

import io
import json
import os
import pathlib
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib

CONFIG = """name: "a"
base {
  network { [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 8 } }
  dataset { %s }
  training { epochs: 1 batch_size: 4 }
}
seeds { count: 1 }
"""


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(seed, alpha=None, chunks=b""):
    """8x8 pixels of colour, with the same alpha everywhere if it is given."""
    rows = b""
    for y in range(8):
        rows += b"\0"
        for x in range(8):
            rows += bytes([(seed * 60 + 9 * x) % 256, (seed * 90 + 30 * y) % 256, (x * y * 4 + seed) % 256])
            rows += b"" if alpha is None else bytes([alpha])
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2 if alpha is None else 6, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", zlib.compress(rows)) +
            chunk(b"IEND", b""))


def make(folder, **kind):
    """Two classes of two pictures, for training and for testing."""
    for i, name in enumerate(("train/a/0", "train/a/1", "train/b/0", "train/b/1", "test/a/0", "test/b/0")):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(i, **kind))


def dataset(folder, more=""):
    return f"[type.googleapis.com/prunelab.ImageFolder] {{ path: '{folder}' image_size: 8 {more} }}"


def shards(folder):
    """The same pictures as archives, in the folder's order."""
    for part in ("train", "test"):
        with tarfile.open(folder.parent / f"{folder.name}-{part}-0.tar", "w") as tar:
            for label, name in enumerate(("a", "b")):
                for path in sorted((folder / part / name).iterdir()):
                    tar.add(path, f"{name}{path.stem}.png")
                    number = tarfile.TarInfo(f"{name}{path.stem}.cls")
                    number.size = 1
                    tar.addfile(number, io.BytesIO(str(label).encode()))
    return (f"[type.googleapis.com/prunelab.TarShards] {{ train: '{folder.name}-train-{{0..0}}.tar' "
            f"test: '{folder.name}-test-0.tar' image_size: 8 cache: NONE cache_folder: 'cache' }}")


class Test:
    def __init__(self, ablation, evaluate, compress, work):
        self.programs = {"ablation": ablation, "evaluate": evaluate, "compress": compress}
        self.work = work
        self.failures = 0

    def call(self, program, *arguments):
        done = subprocess.run([self.programs[program], *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              encoding="utf-8", check=False, cwd=self.work,
                              env={**os.environ, "BUILD_WORKING_DIRECTORY": str(self.work)})
        self.check(done.returncode == 0, f"{program} {arguments} has status 0", done.stdout)
        return done.stdout

    def check(self, holds, what, seen=""):
        print(("ok " if holds else "FAIL ") + what + ("" if holds else f": {seen}"), flush=True)
        self.failures += not holds

    def run(self, name, folder, more="", training="", data=None):
        """The identity of the run, the output of the dry run, and the output of the run."""
        config = self.work / f"{name}.textproto"
        config.write_text((CONFIG % (data or dataset(folder, more))).replace("batch_size: 4", "batch_size: 4 " + training))
        arguments = [f"--config={config}", f"--output=runs/{name}", "--device=cpu", "--jobs=1", "--threads_per_run=1"]
        dry, said = self.call("ablation", *arguments, "--dry_run"), self.call("ablation", *arguments)
        results = list((self.work / "runs" / name).glob("**/result.json"))
        self.check(len(results) == 1, f"{name}: one result", results)
        return json.loads(results[0].read_text())["run_id"], dry, said


def main():
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
        work = pathlib.Path(folder)
        test = Test(*(os.path.abspath(program) for program in sys.argv[1:4]), work)
        gamma = chunk(b"gAMA", struct.pack(">I", 100000))
        # Orientation 6, in little endian.
        exif = chunk(b"eXIf", b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, 6, 0))
        make(work / "plain")
        make(work / "gamma", chunks=gamma)
        make(work / "clear", alpha=3)
        make(work / "held", chunks=exif)
        plain, dry, said = test.run("plain", "plain")
        test.check("left out" not in dry + said and "EXIF" not in dry + said, "of plain pictures nothing is said", said)
        for name in ("gamma", "clear", "held"):
            test.check(test.run(name, name)[0] == plain, f"{name}: the same pixels, so the same run")
        turned, dry, _ = test.run("turned", "held", "exif_orientation: true")
        test.check(turned != plain, "turned pictures are another run")
        test.check("EXIF" not in dry, "and nothing is said of them", dry)

        # Wherever images are kept, the run is the same, byte for byte.
        for training, more in (("", ""), ("random_resized_crop {} color_jitter { hue: 0.2 } horizontal_flip: true",
                                          "whole_training_pictures: true")):
            ids, weights, crops = set(), set(), "crop" in training
            for cache in ("MEMORY", "NONE", "DISK", "DISK"):
                name = f"{cache}{crops}{len(weights)}{time.time_ns()}"
                identity, _, _ = test.run(name, "plain", f"cache: {cache} cache_folder: 'cache' {more}", training)
                ids.add(identity)
                weights.update(path.read_bytes() for path in (work / "runs" / name).glob("**/last.safetensors"))
            test.check(len(ids) == 1 and len(weights) == 1, f"one run with every cache ({training or 'no crops'})", ids)
            test.check((ids == {plain}) == (not crops), "random crops make another run", ids)
            if not crops:
                test.run("shards", "", data=shards(work / "plain"))
                weights.update(path.read_bytes() for path in (work / "runs/shards").glob("**/last.safetensors"))
                test.check(len(weights) == 1, "the same pictures in archives train the same weights", len(weights))

        # A picture that is lost in the middle stops the run with its name; when it is back, the run ends as it would have.
        picture, config = work / "plain/train/b/1.png", work / "lost.textproto"
        more = "cache: NONE cache_folder: 'cache' whole_training_pictures: true"
        text = (CONFIG % dataset("plain", more)).replace("batch_size: 4", "batch_size: 2 random_resized_crop {}")
        config.write_text(text.replace("epochs: 1", "epochs: 400"))
        arguments = ["--device=cpu", "--jobs=1", "--threads_per_run=1", "--retries=0", f"--config={config}"]
        test.call("ablation", *arguments, "--output=runs/whole")
        process = subprocess.Popen([test.programs["ablation"], *arguments, "--output=runs/lost"], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, encoding="utf-8", cwd=work,
                                   env={**os.environ, "BUILD_WORKING_DIRECTORY": str(work)})
        epochs = work / "runs/lost"
        while process.poll() is None and not any(p.read_text().count("\n") > 3 for p in epochs.glob("**/epochs.jsonl")):
            time.sleep(0.02)
        picture.rename(work / "away.png")
        said = process.communicate()[0]
        test.check(process.returncode != 0 and "1.png" in said, "a lost picture is named", said)
        (work / "away.png").rename(picture)
        test.call("ablation", *arguments, "--output=runs/lost")
        ends = [[p.read_bytes() for p in (work / "runs" / name).glob("**/last.safetensors")] for name in ("whole", "lost")]
        test.check(len(ends[0]) == 1 and ends[0] == ends[1], "resumed with the picture back, the run ends the same", "")

        # What is left out, in every program.
        (work / "held/train/a/2.webp").write_bytes(b"?")
        (work / "held/__MACOSX").mkdir()
        wanted = ["train: left out 1 picture of a kind that is not read", "a/2.webp", "system: __MACOSX/",
                  "train: 4 of 4 pictures have an EXIF orientation, which is not applied", "exif_orientation: true"]
        again, dry, said = test.run("again", "held")
        test.check(again == plain, "what is left out changes no run")
        checkpoints = list((work / "runs/again").glob("**/last.safetensors"))
        test.check(len(checkpoints) == 1, "one checkpoint", checkpoints)
        data = f"--dataset={dataset('held')}"
        texts = {"dry run": dry, "ablation": said,
                 "evaluate": test.call("evaluate", f"--checkpoint={checkpoints[0]}", data),
                 "compress": test.call("compress", f"--checkpoint={checkpoints[0]}", "--output=small.safetensors", data)}
        for program, text in texts.items():
            for part in wanted:
                test.check(part in text, f"{program} says: {part}", text)
        losses = set()
        for name in ("plain", "gamma", "clear", "held"):
            text = test.call("evaluate", f"--checkpoint={checkpoints[0]}", f"--dataset={dataset(name)}")
            losses.add([line for line in text.splitlines() if line.startswith("loss")][0])
        test.check(len(losses) == 1, "one loss of the same pixels", losses)
        print(test.failures, "failures")
        return test.failures != 0


sys.exit(main())
