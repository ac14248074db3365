#!/usr/bin/env python3
"""Fetches CIFAR-10 (or CIFAR-100) from its home page, checks it, and unpacks it where the configs look for it.

    bazel run //tools:cifar10                          # into data/cifar-10-batches-bin
    bazel run //tools:cifar10 -- --cifar100            # into data/cifar-100-binary
    bazel run //tools:cifar10 -- --from=~/Downloads/cifar-10-binary.tar.gz

If a download is interrupted, the same command resumes it. The archive's SHA-256 is compared with the original's, then
the sizes, labels and class counts of the files are checked; the folder appears only if everything is right. If the
folder already exists and is complete, nothing is done.

Exit status: 0 done; 1 the download failed, and trying again may help; 2 an error that trying again does not fix.
"""

import collections
import hashlib
import http.client
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from command_line import Parser, status_of, user_path  # noqa: E402

HOME = "https://www.cs.toronto.edu/~kriz/"
PIXELS = 3 * 32 * 32
CHUNK = 1 << 18
ATTEMPTS = 5  # without a byte of progress

Label = collections.namedtuple("Label", "name classes")
DataSet = collections.namedtuple("DataSet", "name archive folder bytes sha256 files labels")

CIFAR10 = DataSet(
    name="CIFAR-10",
    archive="cifar-10-binary.tar.gz",
    folder="cifar-10-batches-bin",
    bytes=170052171,
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    files={**{f"data_batch_{i}.bin": 10000 for i in range(1, 6)}, "test_batch.bin": 10000},
    labels=[Label("label", 10)],
)
CIFAR100 = DataSet(
    name="CIFAR-100",
    archive="cifar-100-binary.tar.gz",
    folder="cifar-100-binary",
    bytes=168513733,
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    files={"train.bin": 50000, "test.bin": 10000},
    labels=[Label("coarse label", 20), Label("fine label", 100)],
)


class Refusal(Exception):
    """An error that the user should see; trying again does not help."""


class DownloadError(Exception):
    """An error after which trying again may help."""


def file_bytes(data_set, name):
    return data_set.files[name] * (len(data_set.labels) + PIXELS)


def megabytes(count):
    return f"{count / 1e6:.1f}"


class Progress:
    """Prints the progress of a download: on a terminal every half second in one line, else a line for every tenth."""

    def __init__(self, name, start, total):
        self.name, self.start, self.total = name, start, total
        self.begin, self.last, self.tenth = time.monotonic(), 0.0, 10 * start // total if total else 0
        self.terminal = sys.stderr.isatty()

    def show(self, done):
        now = time.monotonic()
        if self.terminal and now - self.last < 0.5 and done != self.total:
            return
        tenth = 10 * done // self.total if self.total else 0
        if not self.terminal and tenth == self.tenth:
            return
        self.last, self.tenth = now, tenth
        speed = (done - self.start) / max(now - self.begin, 1e-3)
        share = f" of {megabytes(self.total)} MB ({100 * done // self.total} %)" if self.total else " MB"
        text = f"{self.name}: {megabytes(done)}{share}, {megabytes(speed)} MB/s"
        sys.stderr.write("\r\033[K" + text if self.terminal else text + "\n")
        sys.stderr.flush()

    def end(self):
        if self.terminal:
            sys.stderr.write("\n")


def fetch_rest(url, part):
    """Appends the missing bytes to `part`. Returns when the server has sent all of them."""
    have = os.path.getsize(part) if os.path.exists(part) else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send; the checksum tells whether that is right
            return
        if error.code in (404, 403, 410):
            raise Refusal(f"{url}: the server says {error.code} {error.reason}; give another place by --url=, or the "
                          "archive itself by --from=FILE") from None
        raise
    with answer:
        if answer.status != 206:  # the server sends the whole file
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else 0
        progress = Progress(os.path.basename(part)[:-len(".part")], have, total)
        with open(part, "ab" if have else "wb") as out:
            done = have
            while True:
                chunk = answer.read(CHUNK)
                if not chunk:
                    break
                out.write(chunk)
                done += len(chunk)
                progress.show(done)
        progress.end()
        if total and done < total:
            raise http.client.IncompleteRead(b"")


def download(url, target, pause):
    """Fetches `url` to `target`, through target.part, which later calls resume."""
    part = target + ".part"
    failures = 0
    while True:
        before = os.path.getsize(part) if os.path.exists(part) else 0
        try:
            fetch_rest(url, part)
            os.replace(part, target)
            return
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            after = os.path.getsize(part) if os.path.exists(part) else 0
            failures = 0 if after > before else failures + 1
            reason = getattr(error, "reason", None) or error.__class__.__name__
            if failures >= ATTEMPTS:
                raise DownloadError(
                    f"{url}: {reason}, after {megabytes(after)} MB; the same command resumes there. Without a "
                    "network get the archive elsewhere and give it by --from=FILE") from None
            sys.stderr.write(f"{url}: {reason}; trying again\n")
            time.sleep(pause * failures)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def kind_of(path):
    """What a file seems to be, by its first bytes."""
    with open(path, "rb") as file:
        start = file.read(512)
    if start.startswith(b"\x1f\x8b"):
        return "a gzip archive"
    if start.lstrip().startswith(b"<"):
        return "a web page"
    if start.startswith(b"PK\x03\x04"):
        return "a zip archive"
    return "empty" if not start else "no gzip archive"


def check_archive(path, data_set, sha256):
    found = sha256_of(path)
    if found == sha256:
        return
    size = os.path.getsize(path)
    truncated = size < data_set.bytes and sha256 == data_set.sha256 and kind_of(path) == "a gzip archive"
    raise Refusal(f"{path}: is not {data_set.archive} of {HOME}cifar.html: its SHA-256 is {found}, not {sha256}; it is "
                  f"{kind_of(path)} of {size} bytes, where the original has {data_set.bytes}"
                  f"{' (truncated, or another version: the binary one is needed)' if truncated else ''}; fetch it "
                  "again")


def check_file(name, records, data_set, counts):
    """Checks the bytes of one file and adds its labels to `counts`, one counter for each label byte."""
    size = len(data_set.labels) + PIXELS
    if len(records) != data_set.files[name] * size:
        raise Refusal(f"{name}: has {len(records)} bytes; must have {data_set.files[name] * size}")
    for i, label in enumerate(data_set.labels):
        values = records[i::size]
        if max(values) >= label.classes:
            record = next(r for r, value in enumerate(values) if value >= label.classes)
            raise Refusal(f"{name}: record {record} has {label.name} {values[record]}; must be below {label.classes}")
        counts[i].update(values)


def unpack(archive, folder, data_set):
    """Checks the archive's files and writes them into the folder. Nothing else in the archive is written anywhere."""
    missing = set(data_set.files)
    train = [collections.Counter() for _ in data_set.labels]
    test = [collections.Counter() for _ in data_set.labels]
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = os.path.basename(member.name)
                wanted = name in missing and member.name in (f"{data_set.folder}/{name}", f"./{data_set.folder}/{name}")
                if not wanted or not member.isfile():
                    continue
                if member.size != file_bytes(data_set, name):
                    raise Refusal(f"{archive}: {name} has {member.size} bytes; must have {file_bytes(data_set, name)}")
                records = tar.extractfile(member).read()
                try:
                    check_file(name, records, data_set, test if name.startswith("test") else train)
                except Refusal as error:
                    raise Refusal(f"{archive}: {error}") from None
                with open(os.path.join(folder, name), "wb") as out:
                    out.write(records)
                    out.flush()
                    os.fsync(out.fileno())
                missing.discard(name)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk's fault, not the archive's
            raise
        raise Refusal(f"{archive}: does not unpack: {error}; fetch it again") from None
    if missing:
        raise Refusal(f"{archive}: lacks {', '.join(sorted(missing))} in {data_set.folder}; the binary version of "
                      f"{data_set.name} is needed ({data_set.archive}), not the Python or Matlab one")
    for part, counts in (("training", train), ("test", test)):
        for label, counter in zip(data_set.labels, counts):
            share = sum(counter.values()) // label.classes
            wrong = [f"{value}: {counter[value]}" for value in range(label.classes) if counter[value] != share]
            if wrong:
                raise Refusal(f"{archive}: not {data_set.name}: {part} images by {label.name} {', '.join(wrong[:10])}, "
                              f"where each has {share}")


def is_complete(folder, data_set):
    return all(os.path.isfile(os.path.join(folder, name)) and
               os.path.getsize(os.path.join(folder, name)) == file_bytes(data_set, name) for name in data_set.files)


def check_room(output, needed):
    free = shutil.disk_usage(output).free
    if free < needed:
        raise Refusal(f"{output}: {megabytes(free)} MB are free, {megabytes(needed)} are needed; make room, or choose "
                      "another place by --output=")


def run(arguments):
    data_set = CIFAR100 if arguments.cifar100 else CIFAR10
    output = user_path(arguments.output)
    folder = os.path.join(output, data_set.folder)
    if is_complete(folder, data_set):
        print(f"{folder}: {data_set.name} is there already")
        return
    sha256 = (arguments.sha256 or data_set.sha256).strip().lower()
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise Refusal(f"--sha256={arguments.sha256}: must be the 64 hexadecimal digits that sha256sum prints")
    if os.path.lexists(folder):
        raise Refusal(f"{folder}: exists but is not complete; remove it and run this again")
    url = arguments.url or HOME + data_set.archive
    if not url.startswith(("http://", "https://")):
        raise Refusal(f"--url={url}: must begin with http:// or https://; for a file use --from=FILE")
    archive = user_path(arguments.from_file) if arguments.from_file else ""
    if archive and not os.path.isfile(archive):
        raise Refusal(f"--from={archive}: no such file; {data_set.archive} can be downloaded from {HOME}cifar.html")
    os.makedirs(output, exist_ok=True)
    unpacked = sum(file_bytes(data_set, name) for name in data_set.files)
    check_room(output, unpacked + (0 if archive else data_set.bytes))
    fetched = not archive
    if fetched:
        archive = os.path.join(output, data_set.archive)
        if not os.path.exists(archive):
            sys.stderr.write(f"{data_set.name} from {url}\n")
            download(url, archive, arguments.retry_seconds)
    try:
        check_archive(archive, data_set, sha256)
        temporary = tempfile.mkdtemp(prefix=f".{data_set.folder}.", dir=output)
        try:
            unpack(archive, temporary, data_set)
            os.chmod(temporary, 0o755)
            os.rename(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except Refusal as refusal:
        if not fetched:
            raise
        os.remove(archive)  # so that the same command starts from the beginning
        raise Refusal(f"{refusal} (removed)") from None
    if fetched and not arguments.keep_archive:
        os.remove(archive)
    images = sum(data_set.files.values())
    print(f"{folder}: {data_set.name}, {images} images, checked")


def main():
    parser = Parser(prog="cifar10", description=__doc__)
    parser.add_argument("--output", default="data", metavar="FOLDER", help="where the data's folder is put (data)")
    parser.add_argument("--from", dest="from_file", metavar="FILE", help="an archive that is there already")
    parser.add_argument("--cifar100", action="store_true", help="CIFAR-100 instead")
    parser.add_argument("--url", help="another place of the original archive")
    parser.add_argument("--sha256", metavar="HEX", help="of another archive of the same files, e.g. one packed anew")
    parser.add_argument("--keep_archive", action="store_true", help="keep the fetched archive beside the folder")
    parser.add_argument("--retry_seconds", type=float, default=2, metavar="S", help="pause after a failed attempt (2)")
    arguments = parser.parse_args()
    try:
        run(arguments)
        return 0
    except Refusal as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except DownloadError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command resumes here\n")
        return 130
    except OSError as error:
        place = error.filename or user_path(arguments.output)
        sys.stderr.write(f"{place}: {error.strerror or error}; choose another place by --output=\n")
        return 2


if __name__ == "__main__":
    sys.exit(status_of(main))
