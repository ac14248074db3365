#!/usr/bin/env python3
"""The package as its users have it: unpacked somewhere else, without Bazel, with a torch of their own.

Usage: package_test.py ARCHIVE ABLATION. ABLATION is the program in Bazel's output folder. Its LibTorch is made into a
site-packages folder for the package's programs, which must train as it does.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import unittest

ARCHIVE, ABLATION = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
del sys.argv[1:3]

LIMIT = 64 << 20  # bytes
SYSTEM = {"ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1",
          "libstdc++.so.6"}
TORCH = {
    "cpu": {"libc10.so", "libgomp.so.1", "libtorch_cpu.so"},
    "cuda": {"libc10.so", "libgomp.so.1", "libtorch_cpu.so", "libc10_cuda.so", "libtorch_cuda.so", "libcudart.so.13"},
}
# What neither side may inherit. bazel run and a user's shell set these.
FOREIGN = ("BUILD_WORKSPACE_DIRECTORY", "BUILD_WORKING_DIRECTORY", "LD_LIBRARY_PATH", "PRUNELAB_TORCH", "PYTHONPATH",
           "VIRTUAL_ENV")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN}


def output_of(*command):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def run(*command, **environment):
    """Status and output (both streams) of a command; None takes a variable from its environment."""
    variables = {name: str(value) for name, value in {**ENVIRONMENT, **environment}.items() if value is not None}
    process = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env=variables, cwd=WORK)
    return process.returncode, process.stdout


def libraries_of(program, **environment):
    """The libraries that the loader takes for a program: name -> path, or "not found"."""
    _, text = run("ldd", program, **environment)
    return dict(re.findall(r"^\s*(\S+) => (not found|.*?)(?: \(0x\w+\))?$", text, re.MULTILINE))


def make_site(folder):
    """A site-packages folder of the LibTorch in Bazel's output: files are links, as where a file lies decides what it loads."""
    found = libraries_of(ABLATION)
    torch = pathlib.Path(found["libtorch_cpu.so"]).resolve().parent.parent
    # The CUDA half's libraries are apart from those that the CPU half asks for.
    nvidia = pathlib.Path(found.get("libcudnn.so.9", found["libcudart.so.13"])).resolve()
    while nvidia.name != "nvidia":
        nvidia = nvidia.parent
    lib = folder / "torch" / "lib"
    lib.mkdir(parents=True)
    for library in (torch / "lib").glob("*.so*"):
        (lib / library.name).symlink_to(library)
    shutil.copy(torch / "version.py", folder / "torch")
    (folder / "nvidia").symlink_to(nvidia)
    return folder


def fake_torch(site, version):
    for library in ("torch/lib/libtorch_cpu.so", "torch/lib/libtorch_cuda.so", "nvidia/cu13/lib/libcudart.so.13",
                    "nvidia/cu13/lib/libcupti.so.13"):
        (site / library).parent.mkdir(parents=True, exist_ok=True)
        (site / library).touch()
    (site / "torch" / "__init__.py").write_text("raise ImportError('it must not be imported')\n")
    (site / "torch" / "version.py").write_text(f"__all__ = ['__version__']\n__version__ = '{version}'\ncuda = None\n")
    return site


def setUpModule():
    global WORK, ROOT, SITE, FACTS, KIND
    # With a space, which a user's folders may have.
    WORK = pathlib.Path(tempfile.mkdtemp(prefix="a package ", dir=os.environ.get("TEST_TMPDIR")))
    subprocess.run(["tar", "--zstd", "-xf", str(ARCHIVE), "-C", str(WORK)], check=True)
    ROOT = WORK / ARCHIVE.name[:-len(".tar.zst")]
    FACTS = dict(line.split("=", 1) for line in (ROOT / "libexec" / "facts.sh").read_text().splitlines())
    KIND = FACTS["kind"]
    SITE = make_site(WORK / "site")


def tearDownModule():
    shutil.rmtree(WORK)


class Contents(unittest.TestCase):

    def binaries(self):
        files = [path for path in ROOT.rglob("*") if path.is_file() and not path.is_symlink()]
        return [path for path in files if path.read_bytes()[:4] == b"\x7fELF"]

    def programs(self):
        return [path for path in self.binaries() if path.parent != ROOT / "lib"]

    def test_the_archive_is_small_and_says_nothing_of_who_made_it_when(self):
        self.assertLess(ARCHIVE.stat().st_size, LIMIT)
        self.assertEqual(ARCHIVE.name, f"prunelab-{FACTS['version']}-{KIND}-x86_64.tar.zst")
        tar = WORK / "archive.tar"
        subprocess.run(["zstd", "-qd", str(ARCHIVE), "-o", str(tar)], check=True)
        with tarfile.open(tar) as archive:
            members = archive.getmembers()
        self.assertEqual([m.name for m in members], sorted((m.name for m in members), key=lambda name: name.split("/")))
        self.assertEqual({(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members}, {(315532800, 0, 0, "root", "root")})
        self.assertLessEqual({m.mode for m in members if not m.issym()}, {0o644, 0o755})

    def test_each_program_for_users_has_a_launcher(self):
        programs = {path.stem for path in (ROOT / "libexec").iterdir() if os.access(path, os.X_OK)}
        some = {"ablation", "report", "inspect", "evaluate", "compress", "deep_compress", "step_benchmark", "cifar10"}
        self.assertLess(some, programs)
        self.assertEqual({path.name for path in (ROOT / "bin").iterdir()}, programs | {"prunelab-env"})
        for name in ("README.md", "LICENSE", "configs/digits.textproto", "slurm/ablation.sbatch", "slurm/ranks.sbatch",
                     "benchmark/compare.py", "pytorch/prunelab_network.py"):
            self.assertTrue((ROOT / name).is_file(), name)
        self.assertTrue((ROOT / "tests" / "training_device_test").exists())

    def test_the_readme_states_what_is_needed(self):
        text = (ROOT / "README.md").read_text()
        self.assertIn(f"glibc {FACTS['glibc']} or newer", text)
        self.assertIn(f"torch {FACTS['torch']}{FACTS['torch_build']}.", text)
        self.assertNotIn("{", text)

    def test_what_is_loaded_is_in_the_package_or_torch_or_every_system(self):
        carried = {path.name for path in (ROOT / "lib").iterdir()}
        self.assertFalse(carried & (SYSTEM | TORCH["cuda"]))
        for path in self.binaries():
            dynamic = output_of("readelf", "-dW", path)
            needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
            torch = TORCH[KIND] if path in self.programs() else set()
            self.assertLessEqual(needed, carried | torch | SYSTEM, path)
            run_paths = re.findall(r"\((R(?:UN)?PATH)\).*\[(.*)\]", dynamic)
            # A RUNPATH would come after LD_LIBRARY_PATH, and would not hold for the libraries of libraries.
            self.assertEqual(run_paths, [("RPATH", "$ORIGIN/../lib")] if path in self.programs() else [], path)

    def test_the_loader_finds_all_of_it_there(self):
        paths = f"{SITE}/torch/lib:{SITE}/nvidia/cu13/lib"
        system = [re.compile(r"/(usr/)?lib(64)?/"), re.compile(re.escape(f"{SITE}/"))]
        for path in self.programs():
            for name, found in libraries_of(path, LD_LIBRARY_PATH=paths).items():
                if (ROOT / "lib" / name).exists():
                    self.assertEqual(os.path.normpath(found), str(ROOT / "lib" / name), path)
                else:
                    self.assertTrue(any(pattern.match(found) for pattern in system), f"{path}: {name} => {found}")
            undefined = [line for line in run("ldd", "-r", path, LD_LIBRARY_PATH=paths)[1].splitlines() if "undefined" in line]
            self.assertEqual(undefined, [], path)

    def test_another_library_of_the_same_name_is_not_taken(self):
        other = WORK / "modules"
        other.mkdir()
        (other / "libprotobuf.so.32").write_text("no library\n")
        name = next(path.name for path in (ROOT / "lib").glob("libprotobuf.so.*"))
        (other / name).write_text("no library\n")
        status, text = run(ROOT / "bin" / "inspect", "--help", PRUNELAB_TORCH=SITE, LD_LIBRARY_PATH=other)
        self.assertEqual((status, text.split(":")[0]), (0, "inspect"), text)

    def test_no_file_names_a_folder_of_the_machine_that_built_it(self):
        output = str(ABLATION).split("/execroot/")[0].encode()  # Bazel's; the files in it are named by relative paths
        self.assertNotEqual(output, str(ABLATION).encode())
        for path in ROOT.rglob("*"):
            if path.is_file():
                self.assertNotIn(output, path.read_bytes(), path)
                self.assertNotIn(b"_solib_", path.read_bytes(), path)

    def test_the_versions_that_it_says_it_needs_are_the_newest_that_it_needs(self):
        key = lambda version: tuple(int(part) for part in version.split("."))
        for library, stated in (("GLIBC", "glibc"), ("GLIBCXX", "glibcxx")):
            asked = {v for path in self.binaries()
                     for v in re.findall(rf"Name: {library}_([\d.]+)", output_of("readelf", "-VW", path))}
            self.assertEqual(max(asked, key=key), FACTS[stated])


class Programs(unittest.TestCase):

    def test_a_program_runs_by_its_launcher_and_by_a_link_to_it(self):
        link = WORK / "link"
        link.symlink_to(ROOT / "bin" / "inspect")
        for program in (ROOT / "bin" / "inspect", link):
            status, text = run(program, "--help", PRUNELAB_TORCH=SITE)
            self.assertEqual(status, 0, text)
            self.assertTrue(text.startswith("inspect: "), text)
        self.assertEqual(run(ROOT / "bin" / "inspect", "--nonsense", PRUNELAB_TORCH=SITE)[0], 2)

    def test_scripts_need_no_torch(self):
        for name in ("cifar10", "filter_norms"):
            status, text = run(ROOT / "bin" / name, "--help", PRUNELAB_TORCH="/nonexistent")
            self.assertEqual(status, 0, text)
            self.assertIn(f"usage: {name}", text)

    def test_digits_are_trained_as_by_the_program_in_place(self):
        flags = [f"--config={ROOT}/configs/digits.textproto", "--seeds=1", "--jobs=2", "--threads_per_run=1", "--device=cpu",
                 "--arms=none/none,dynamic_l1/cov", "--override=base { training { epochs: 2 } }"]
        for program, output in ((ABLATION, "in_place"), (ROOT / "bin" / "ablation", "packed")):
            status, text = run(program, *flags, f"--output={WORK / output}", PRUNELAB_TORCH=SITE)
            self.assertEqual(status, 0, text)
        files = {path.relative_to(WORK / "in_place") for path in (WORK / "in_place").rglob("*")
                 if path.name in ("epochs.jsonl", "result.json", "last.safetensors")}  # none of them holds times
        self.assertEqual(len(files), 2 * 3)
        for file in files:
            self.assertEqual((WORK / "in_place" / file).read_bytes(), (WORK / "packed" / file).read_bytes(), file)


class Environment(unittest.TestCase):

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=WORK))
        shutil.copytree(ROOT, self.folder / "package", symlinks=True)
        self.env = self.folder / "package" / "bin" / "prunelab-env"

    def tearDown(self):
        shutil.rmtree(self.folder)

    def python(self, text):
        """A folder with a python3 that is this script, for the PATH."""
        folder = self.folder / "python"
        folder.mkdir(exist_ok=True)
        (folder / "python3").write_text("#!/bin/bash\n" + textwrap.dedent(text))
        (folder / "python3").chmod(0o755)
        return f"{folder}:{os.environ['PATH']}"

    def refused(self, expected, *command, **environment):
        status, text = run(self.env, *command, **environment)
        self.assertEqual(status, 2, text)
        for part in [expected] if isinstance(expected, str) else expected:
            self.assertIn(part, text)

    def test_the_first_place_that_has_a_torch_counts(self):
        venv = self.folder / "venv"
        places = {
            "PRUNELAB_TORCH": self.folder / "chosen",
            "looking in and next to the package": self.folder / "package",
            "looking in and next to the package ": self.folder,
            "VIRTUAL_ENV": venv / "lib" / "python3.12" / "site-packages",
            "asking ": self.folder / "path",
        }
        for i, site in enumerate(places.values()):
            fake_torch(site, f"1.{i}.0")
        (self.folder / "here" / "torch").mkdir(parents=True)  # in the current folder, which is not searched
        variables = {"PRUNELAB_TORCH": self.folder / "chosen", "VIRTUAL_ENV": venv, "PYTHONPATH": self.folder / "path"}
        for i, (found_by, site) in enumerate(places.items()):
            self.refused((f"torch 1.{i}.0 is in {site}/torch (found by {found_by.rstrip()}", f"need torch {FACTS['torch']}"),
                         **variables)
            shutil.rmtree(site / "torch")
            variables.pop("PRUNELAB_TORCH", None)
        # What PRUNELAB_TORCH names counts, even if there is nothing.
        self.refused(f"PRUNELAB_TORCH={self.folder}/chosen: there is no torch", **variables, PRUNELAB_TORCH=self.folder / "chosen")
        nothing = self.python("exit 1")
        self.refused(("no torch was found", f"{self.folder}/python/python3 has none", f"there is none in {venv}",
                      "prunelab-env --install"), **variables, PATH=nothing)

    def test_a_torch_of_the_current_folder_is_not_found(self):
        fake_torch(WORK, "1.0.0")  # where the command runs
        try:
            self.assertNotIn("1.0.0", run(self.env)[1])
        finally:
            shutil.rmtree(WORK / "torch")
            shutil.rmtree(WORK / "nvidia")

    def test_only_the_version_that_was_linked_is_taken(self):
        torch = FACTS["torch"]
        fits = [torch, torch + "+cpu", torch + "+cu130", torch + "+cu126"] if KIND == "cpu" else [torch + "+cu130"]
        for i, version in enumerate([torch, torch + "+cpu", torch + "+cu130", torch + "+cu126", torch + ".post1", torch + "a0", "2.1",
                                     torch[:-1]]):
            site = fake_torch(self.folder / str(i), version)
            if version in fits:
                self.assertEqual(run(self.env, "true", PRUNELAB_TORCH=site), (0, ""), version)
                continue
            for name in (site, site / "torch"):
                self.refused((f"torch {version} is in {site}/torch (found by PRUNELAB_TORCH)", "Remedy: "), "true",
                             PRUNELAB_TORCH=name)

    def test_a_torch_that_lacks_a_library_is_refused(self):
        missing = ["torch/lib/libtorch_cpu.so", "nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/lib/libcupti.so.13"]
        for i, library in enumerate(missing + ["torch/lib/libtorch_cuda.so"] * (KIND == "cuda")):
            site = fake_torch(self.folder / str(i), FACTS["torch"] + "+cu130")
            (site / library).unlink()
            self.refused(f"but not {'lib/' if 'torch' in library else '../nvidia/cu13/lib/'}{pathlib.Path(library).name}, which",
                         "true", PRUNELAB_TORCH=site)
        if KIND == "cpu":  # the build for the CPU has none of NVIDIA's
            site = fake_torch(self.folder / "cpu", FACTS["torch"] + "+cpu")
            shutil.rmtree(site / "nvidia")
            self.assertEqual(run(self.env, "true", PRUNELAB_TORCH=site), (0, ""))

    def test_a_command_gets_the_libraries_and_its_status_counts(self):
        site = fake_torch(self.folder / "site", FACTS["torch"] + "+cu130")
        show = ("sh", "-c", 'echo "$LD_LIBRARY_PATH|$1"; exit 7', "sh", "a  b")
        paths = f"{site}/torch/lib:{site}/torch/../nvidia/cu13/lib"
        self.assertEqual(run(self.env, *show, PRUNELAB_TORCH=site), (7, f"{paths}|a  b\n"))
        self.assertEqual(run(self.env, *show, PRUNELAB_TORCH=site, LD_LIBRARY_PATH="/x")[1], f"{paths}:/x|a  b\n")
        # A folder that is relative to the current one holds in another, too.
        relative = os.path.relpath(site, WORK)
        self.assertEqual(run(self.env, *show, PRUNELAB_TORCH=relative), (7, f"{paths}|a  b\n"))

    def test_what_it_says(self):
        site = fake_torch(self.folder / "site", FACTS["torch"] + "+cu130")
        status, text = run(self.env, PRUNELAB_TORCH=site)
        self.assertEqual(status, 0, text)
        self.assertIn(f"prunelab {FACTS['version']} ({KIND}) in {self.folder}/package\n", text)
        self.assertIn(f"torch {FACTS['torch']}+cu130 in {site}/torch (found by PRUNELAB_TORCH)\n", text)
        self.assertEqual(run(self.env, "--version"), (0, f"prunelab {FACTS['version']} ({KIND})\n"))
        self.assertIn("prunelab-env --install [DIR]", run(self.env, "--help")[1])
        self.refused("--instal is not a flag", "--instal", "x")

    def test_a_system_that_is_too_old_is_named(self):
        folder = self.folder / "system"
        folder.mkdir()
        site = fake_torch(self.folder / "site", FACTS["torch"] + "+cu130")
        for version, refused in (("2.17", True), ("2.33", True), ("1.99", True), (FACTS["glibc"], False), ("2.100", False),
                                 ("3.0", False)):
            (folder / "getconf").write_text(f"#!/bin/sh\necho glibc {version}\n")
            (folder / "getconf").chmod(0o755)
            variables = {"PATH": f"{folder}:{os.environ['PATH']}", "PRUNELAB_TORCH": site}
            if refused:
                self.refused(f"this system has glibc {version}, and the programs need {FACTS['glibc']}", "true", **variables)
            else:
                self.assertEqual(run(self.env, "true", **variables), (0, ""), version)

    # A python3 whose pip writes down what it is asked for, and installs a torch of the version in VERSION.
    PIP = """
        [ "$3" = install ] || exit 0
        printf '%s\\n' "$@" >"$ASKED"
        for word; do case $word in --target=*) site=${word#--target=} ;; esac; done
        [ -d "$TMPDIR" ] && [ "${TMPDIR%/*}" = "${site%/*}" ] || exit 9
        mkdir -p "$site/torch/lib" "$site/nvidia/cu13/lib" && echo "__version__ = '$VERSION'" >"$site/torch/version.py"
        touch "$site"/torch/lib/libtorch_c{pu,uda}.so "$site"/nvidia/cu13/lib/libcu{dart,pti}.so.13
        exit "$STATUS"
        """

    def test_install_fetches_the_pinned_wheels(self):
        asked, right = self.folder / "asked", FACTS["torch"] + "+cu130"
        variables = {"PATH": self.python(self.PIP), "ASKED": asked, "VERSION": right, "STATUS": 0}
        status, text = run(self.env, "--install", **variables)
        self.assertEqual((status, text), (0, f"torch {right} is in {self.folder}/package/torch/torch\n"))
        self.assertIn("looking in and next to the package", run(self.env, PATH=variables["PATH"])[1])
        words = asked.read_text().splitlines()
        requirements = self.folder / "package" / "libexec" / "requirements.txt"
        self.assertLess({"--require-hashes", "--no-deps", f"--requirement={requirements}"}, set(words))
        pins = requirements.read_text().splitlines()
        self.assertEqual([pin for pin in pins if not re.fullmatch(r"[\w-]+==[\d.]+ --hash=sha256:[0-9a-f]{64}", pin)], [])
        self.assertIn("torch==" + FACTS["torch"], [pin.split()[0] for pin in pins])
        self.assertEqual("nvidia-cudnn-cu13" in {pin.split("==")[0] for pin in pins}, KIND == "cuda")

        elsewhere = self.folder / "else where"
        status, text = run(self.env, "--install", f"{elsewhere}/", **variables)
        self.assertEqual(status, 0, text)
        self.assertIn(f"export PRUNELAB_TORCH={elsewhere}\n", text)
        self.refused(f"{elsewhere}: it is there already, and is no empty folder", "--install", elsewhere, **variables)
        self.assertTrue((elsewhere / "torch" / "version.py").exists())

    def test_install_that_fails_leaves_nothing(self):
        variables = {"PATH": self.python(self.PIP), "ASKED": self.folder / "asked", "VERSION": FACTS["torch"], "STATUS": 1}
        before = sorted(self.folder.rglob("*"))
        self.refused("pip could not install torch", "--install", self.folder / "site", **variables)
        (self.folder / "asked").unlink()
        self.assertEqual(sorted(self.folder.rglob("*")), before)
        self.refused("`python3 -m pip` does not work", "--install", PATH=self.python("exit 1"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
