"""Makes a large folder of JPEGs of ordinary sizes out of CIFAR-10's binary files, for measuring how pictures are read.

    python3 tools/benchmark/make_pictures.py data/cifar-10-batches-bin FOLDER --pictures=200000    (numpy, Pillow)

Each picture is one of CIFAR-10's, enlarged to a size like those of photographs on the web (shorter side 300 to 420 pixels),
with noise of its own, so that its file has an ordinary size, too (about 30 to 50 kB at quality 90). FOLDER/train/CLASS and
FOLDER/test/CLASS; one in a hundred is for the test (--test_every). Goes on where an earlier call stopped.
"""

import argparse
import multiprocessing
import pathlib

import numpy
from PIL import Image

RECORD = 3073
cifar, noise = None, None


def begin(folder):
    global cifar, noise
    parts = [numpy.fromfile(folder / f"data_batch_{i}.bin", dtype=numpy.uint8).reshape(-1, RECORD) for i in range(1, 6)]
    cifar = numpy.concatenate(parts)
    noise = numpy.random.default_rng(1).normal(0, 6, (600, 800)).astype(numpy.int16)


def make(task):
    index, path = task
    random = numpy.random.default_rng(index)
    record = cifar[index % len(cifar)]
    shorter = int(random.integers(300, 421))
    longer = int(shorter * random.uniform(1, 1.5))
    size = (longer, shorter) if random.random() < 0.7 else (shorter, longer)
    picture = Image.fromarray(record[1:].reshape(3, 32, 32).transpose(1, 2, 0)).resize(size, Image.BICUBIC)
    top, left = random.integers(0, noise.shape[0] - min(size[1], 599)), random.integers(0, 100)
    grain = numpy.resize(noise[top:, left:], (size[1], size[0]))
    pixels = numpy.clip(numpy.asarray(picture, dtype=numpy.int16) + grain[:, :, None], 0, 255).astype(numpy.uint8)
    temporary = path.with_suffix(".part")
    Image.fromarray(pixels).save(temporary, "JPEG", quality=90)
    temporary.rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--pictures", type=int, default=200000)
    parser.add_argument("--test_every", type=int, default=100)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    arguments = parser.parse_args()
    begin(arguments.cifar)
    tasks = []
    for index in range(arguments.pictures):
        part = "test" if index % arguments.test_every == arguments.test_every - 1 else "train"
        folder = arguments.folder / part / f"class_{cifar[index % len(cifar)][0]}"
        path = folder / f"{index:07}.jpg"
        if not path.exists():
            tasks.append((index, path))
    for part in ("train", "test"):
        for label in range(10):
            (arguments.folder / part / f"class_{label}").mkdir(parents=True, exist_ok=True)
    with multiprocessing.Pool(arguments.processes, begin, (arguments.cifar,)) as pool:
        for done, _ in enumerate(pool.imap_unordered(make, tasks, chunksize=64), 1):
            if done % 10000 == 0:
                print(f"{done} of {len(tasks)}", flush=True)


if __name__ == "__main__":
    main()
