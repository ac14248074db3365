"""Times the reading of training batches here and by torchvision's ImageFolder with PyTorch's DataLoader, in turn.

    bazel build //ml/training:loading_benchmark
    python3 tools/benchmark/image_loading.py bazel-bin/ml/training/loading_benchmark FOLDER --threads=2    (torch, torchvision)

FOLDER has train/CLASS/*.jpg and test/CLASS/*.jpg. Both sides read the same files in random order, take a random part of each
scaled to --image_size pixels (RandomResizedCrop), flip it with probability 1/2, normalize it and give float32 batches. Here
pictures are decoded whenever they are wanted (cache: NONE); PyTorch has as many workers as there are threads here. A round
is --images pictures on each side; prints images per second (medians) and the median and quartiles of the rounds' own ratios.
"""

import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

import torch
import torchvision
from torchvision import transforms


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dataset", default="", help="more fields of ImageFolder, such as scaled_decoding: true")
    arguments = parser.parse_args()
    images = arguments.images // arguments.batch_size * arguments.batch_size
    mean, stddev = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    cache = tempfile.TemporaryDirectory()
    dataset = (f'[type.googleapis.com/prunelab.ImageFolder] {{ path: "{arguments.folder.resolve()}" cache: NONE '
               f'image_size: {arguments.image_size} whole_training_pictures: true cache_folder: "{cache.name}" '
               f"mean: {mean} stddev: {stddev} {arguments.dataset} }}")
    training = f"batch_size: {arguments.batch_size} random_resized_crop {{}} horizontal_flip: true"
    server = subprocess.Popen([arguments.program, f"--dataset={dataset}", f"--training={training}", f"--images={images}",
                               f"--threads={arguments.threads}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def here():
        server.stdin.write("\n")
        server.stdin.flush()
        line = server.stdout.readline()
        if not line:
            raise SystemExit("the program ended; see above")
        count, seconds = line.split()
        return int(count) / float(seconds)

    recipe = transforms.Compose([transforms.RandomResizedCrop(arguments.image_size), transforms.RandomHorizontalFlip(),
                                 transforms.ToTensor(), transforms.Normalize(mean, stddev)])
    data = torchvision.datasets.ImageFolder(arguments.folder / "train", recipe)

    def there():
        subset = torch.utils.data.Subset(data, torch.randperm(len(data))[:images].tolist())
        loader = torch.utils.data.DataLoader(subset, batch_size=arguments.batch_size, num_workers=arguments.threads)
        batches = iter(loader)  # starts the workers
        count = len(next(batches)[1])
        start = time.perf_counter()
        for _, labels in batches:
            count += len(labels)
        # The first batch is not counted: starting workers is no part of reading.
        return (count - arguments.batch_size) / (time.perf_counter() - start)

    torch.set_num_threads(1)
    ours, theirs = [], []
    here(), there()  # files are in the system's cache now
    for _ in range(arguments.rounds):
        ours.append(here())
        theirs.append(there())
    middle, low, high = quartiles([a / b for a, b in zip(ours, theirs)])
    print(f"{images} images a round, {arguments.threads} threads, {arguments.rounds} rounds: here "
          f"{statistics.median(ours):.0f} images/s, torchvision {torchvision.__version__} "
          f"{statistics.median(theirs):.0f} images/s; here / torchvision {middle:.2f} [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main()
