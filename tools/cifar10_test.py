#!/usr/bin/env python3
"""Runs cifar10.py as a user would, on made-up archives, from files and from a server on this machine.

Argument: cifar10.py.
"""

import hashlib
import http.server
import io
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest

TOOL = os.path.abspath(sys.argv[1])
PIXELS = 3072


def records(count, label):
    """`count` records; label(i) gives the label bytes of record i."""
    black = bytes(PIXELS)
    return b"".join(bytes(label(i)) + black for i in range(count))


def archive(files, folder="cifar-10-batches-bin"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for name, contents in files.items():
            member = tarfile.TarInfo(name if "/" in name else f"{folder}/{name}")
            member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents))
    return out.getvalue()


FILES = {**{f"data_batch_{i}.bin": records(10000, lambda r, i=i: [(r + i) % 10]) for i in range(1, 6)},
         "test_batch.bin": records(10000, lambda r: [r % 10])}
GOOD = archive({**FILES, "batches.meta.txt": b"airplane\n"})


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves GOOD with the fault that the server's `mode` names."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.mode == "missing":
            self.send_error(404)
            return
        if server.mode == "busy":
            self.send_error(503)
            return
        body = b"<html>no longer here</html>" if server.mode == "page" else GOOD
        begin = 0
        if asked and server.mode != "no ranges":
            begin = int(re.match(r"bytes=(\d+)-$", asked).group(1))
            if begin >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        end = len(body)
        if server.mode == "drops":  # a third of the file at a time
            end = min(end, begin + len(body) // 3 + 1)
        self.wfile.write(body[begin:end])


class Cifar10Test(unittest.TestCase):
    """Each test has a folder of its own."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = pathlib.Path(scratch.name)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.mode, self.server.ranges = "good", []
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f"http://127.0.0.1:{self.server.server_port}/cifar-10-binary.tar.gz"

    def write(self, contents, name="a.tar.gz"):
        (self.root / name).write_bytes(contents)
        return name

    def run_tool(self, *arguments, sha256=hashlib.sha256(GOOD).hexdigest()):
        root = str(self.root)
        environment = dict(os.environ, BUILD_WORKING_DIRECTORY=root, HOME=root, no_proxy="127.0.0.1")
        command = [sys.executable, TOOL, "--retry_seconds=0.01", *arguments]
        if sha256:
            command.append(f"--sha256={sha256}")
        return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)

    def refused(self, *arguments, status=2, **options):
        """The message of a refused call, which must have written no data."""
        before = sorted(path.name for path in self.root.rglob("*") if not path.name.endswith(".part"))
        process = self.run_tool(*arguments, **options)
        self.assertEqual(process.returncode, status, process)
        after = sorted(path.name for path in self.root.rglob("*") if not path.name.endswith(".part"))
        self.assertEqual([name for name in after if name not in before and name != "data"], [])
        self.assertNotIn("Traceback", process.stderr)
        return process.stderr

    def refused_archive(self, contents, **options):
        return self.refused("--from=" + self.write(contents), sha256=hashlib.sha256(contents).hexdigest(), **options)

    def assert_unpacked(self, output="data"):
        folder = self.root / output / "cifar-10-batches-bin"
        self.assertEqual(sorted(os.listdir(folder)), sorted(FILES))
        for name, contents in FILES.items():
            self.assertEqual((folder / name).read_bytes(), contents, name)
        self.assertEqual([name for name in os.listdir(self.root / output) if name.startswith(".")], [])

    def test_from_a_file(self):
        process = self.run_tool("--from=~/" + self.write(GOOD))
        self.assertEqual(process.returncode, 0, process)
        self.assertIn("data/cifar-10-batches-bin: CIFAR-10, 60000 images, checked", process.stdout)
        self.assert_unpacked()
        self.assertTrue((self.root / "a.tar.gz").exists())
        process = self.run_tool("--from=nowhere")
        self.assertEqual(process.returncode, 0, process)
        self.assertIn("is there already", process.stdout)

    def test_from_a_server(self):
        process = self.run_tool("--url=" + self.url, "--output=x/y")
        self.assertEqual(process.returncode, 0, process)
        self.assert_unpacked("x/y")
        self.assertIn("MB/s", process.stderr)
        self.assertIn("(100 %)", process.stderr)
        self.assertEqual(os.listdir(self.root / "x/y"), ["cifar-10-batches-bin"])

    def test_keeps_the_archive_when_asked(self):
        process = self.run_tool("--url=" + self.url, "--keep_archive")
        self.assertEqual(process.returncode, 0, process)
        self.assertEqual((self.root / "data/cifar-10-binary.tar.gz").read_bytes(), GOOD)

    def test_goes_on_where_it_stopped(self):
        (self.root / "data").mkdir()
        self.write(GOOD[:1000], "data/cifar-10-binary.tar.gz.part")
        process = self.run_tool("--url=" + self.url)
        self.assertEqual(process.returncode, 0, process)
        self.assertEqual(self.server.ranges, ["bytes=1000-"])
        self.assert_unpacked()

    def test_a_whole_part_needs_no_more(self):
        (self.root / "data").mkdir()
        self.write(GOOD, "data/cifar-10-binary.tar.gz.part")
        process = self.run_tool("--url=" + self.url)
        self.assertEqual(process.returncode, 0, process)
        self.assert_unpacked()

    def test_survives_connections_that_drop(self):
        self.server.mode = "drops"
        process = self.run_tool("--url=" + self.url)
        self.assertEqual(process.returncode, 0, process)
        self.assertEqual(len(self.server.ranges), 3)
        self.assertIn("trying again", process.stderr)
        self.assert_unpacked()

    def test_a_server_without_ranges_sends_all_again(self):
        (self.root / "data").mkdir()
        self.write(b"x" * 1000, "data/cifar-10-binary.tar.gz.part")
        self.server.mode = "no ranges"
        process = self.run_tool("--url=" + self.url)
        self.assertEqual(process.returncode, 0, process)
        self.assert_unpacked()

    def test_a_damaged_part_is_removed(self):
        (self.root / "data").mkdir()
        self.write(b"x" * 1000, "data/cifar-10-binary.tar.gz.part")
        self.assertIn("SHA-256", self.refused("--url=" + self.url))
        self.assertEqual(os.listdir(self.root / "data"), [])
        self.assertEqual(self.run_tool("--url=" + self.url).returncode, 0)

    def test_servers_that_do_not_have_it(self):
        self.server.mode = "missing"
        self.assertIn("the server says 404", self.refused("--url=" + self.url))
        self.server.mode = "page"
        self.assertIn("a web page", self.refused("--url=" + self.url))
        self.server.mode = "busy"
        message = self.refused("--url=" + self.url, status=1)
        self.assertIn("Service Unavailable", message)
        self.assertIn("--from=FILE", message)
        self.server.shutdown()
        self.server.server_close()
        self.assertIn("resumes there", self.refused("--url=" + self.url, status=1))
        self.assertIn("must begin with http", self.refused("--url=file:///etc/passwd"))

    def test_files_that_are_not_the_original(self):
        message = self.refused("--from=" + self.write(GOOD), sha256=None)
        self.assertIn("is not cifar-10-binary.tar.gz", message)
        self.assertIn(hashlib.sha256(GOOD).hexdigest(), message)
        self.assertIn("170052171", message)
        self.assertIn("a web page", self.refused("--from=" + self.write(b"<!DOCTYPE html>"), sha256=None))
        self.assertIn("no such file", self.refused("--from=nowhere"))

    def test_archives_that_are_damaged(self):
        self.assertIn("does not unpack", self.refused_archive(GOOD[:len(GOOD) // 2]))
        self.assertIn("does not unpack", self.refused_archive(b"\x1f\x8b nothing"))
        self.assertIn("lacks data_batch_1.bin", self.refused_archive(archive({"data_batch_1": b"python"})))
        short = dict(FILES, **{"data_batch_3.bin": FILES["data_batch_3.bin"][:-1]})
        self.assertIn("data_batch_3.bin has 30729999 bytes; must have 30730000", self.refused_archive(archive(short)))
        wrong = bytearray(FILES["data_batch_2.bin"])
        wrong[5 * 3073] = 10
        message = self.refused_archive(archive(dict(FILES, **{"data_batch_2.bin": bytes(wrong)})))
        self.assertIn("data_batch_2.bin: record 5 has label 10; must be below 10", message)
        wrong[5 * 3073] = 1
        message = self.refused_archive(archive(dict(FILES, **{"data_batch_2.bin": bytes(wrong)})))
        self.assertIn("training images by label 1: 5001, 7: 4999, where each has 5000", message)

    def test_nothing_is_written_elsewhere(self):
        extra = {"../../evil.bin": b"x", "/tmp/evil.bin": b"x", "elsewhere/test_batch.bin": b"x"}
        contents = archive({**extra, **FILES})
        process = self.run_tool("--from=" + self.write(contents), sha256=hashlib.sha256(contents).hexdigest())
        self.assertEqual(process.returncode, 0, process)
        self.assert_unpacked()
        self.assertEqual([path for path in self.root.rglob("evil*")], [])

    def test_cifar100(self):
        files = {"train.bin": records(50000, lambda i: [i % 100 // 5, i % 100]),
                 "test.bin": records(10000, lambda i: [i % 100 // 5, i % 100])}
        contents = archive(files, "cifar-100-binary")
        process = self.run_tool("--cifar100", "--from=" + self.write(contents),
                                sha256=hashlib.sha256(contents).hexdigest())
        self.assertEqual(process.returncode, 0, process)
        self.assertEqual(sorted(os.listdir(self.root / "data/cifar-100-binary")), sorted(files))
        message = self.refused("--from=a.tar.gz", sha256=hashlib.sha256(contents).hexdigest())
        self.assertIn("lacks data_batch_1.bin", message)

    def test_folders_that_are_in_the_way(self):
        (self.root / "data/cifar-10-batches-bin").mkdir(parents=True)
        self.assertIn("exists but is not complete", self.refused("--from=" + self.write(GOOD)))
        self.write(b"", "file")
        self.assertIn("file", self.refused("--from=a.tar.gz", "--output=file/data"))
        self.assertIn("unrecognized arguments: --frm=x; did you mean --from?", self.refused("--frm=x"))

    def test_a_checksum_may_be_written_in_capitals(self):
        process = self.run_tool("--from=" + self.write(GOOD), sha256=hashlib.sha256(GOOD).hexdigest().upper())
        self.assertEqual(process.returncode, 0, process)
        self.assert_unpacked()

    def test_what_is_no_checksum_is_refused(self):
        for sha256 in ("abc", "x" * 64, hashlib.md5(GOOD).hexdigest()):
            message = self.refused("--from=" + self.write(GOOD), sha256=sha256)
            self.assertIn(f"--sha256={sha256}: must be the 64 hexadecimal digits", message)

    def test_no_folder_is_called_by_a_tilde(self):
        for output in ("~", "~/x"):
            process = self.run_tool("--from=~/" + self.write(GOOD), "--output=" + output)
            self.assertEqual(process.returncode, 0, process)
            self.assert_unpacked(output.strip("~/"))
        self.assertEqual([path for path in self.root.rglob("~*")], [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
