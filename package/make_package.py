#!/usr/bin/env python3
"""Packs programs with the libraries they load into an archive that runs wherever it is unpacked.

Usage: make_package.py CONTENTS.json ARCHIVE.tar.zst, by the rule of package.bzl, which describes the contents.

A program is stripped, and its run path becomes $ORIGIN/../lib. (It is a DT_RPATH, which the loader searches before
LD_LIBRARY_PATH, also for the libraries of libraries: another libprotobuf that a cluster's modules put there does no harm.)
Libraries are taken from this machine, except for the system's, which every Linux has and which must suit each other, and
LibTorch's, which prunelab-env finds when a program is started. A library loses its own run path, if it has one: it would
take the place of the program's, and a DT_RUNPATH comes after LD_LIBRARY_PATH. The same inputs give the same archive, byte
for byte.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

# Of glibc and GCC. LibTorch, in the same process, uses the same ones.
SYSTEM = re.compile(r"ld-linux-x86-64\.so\.2|lib(c|m|dl|rt|pthread|util)\.so\.\d|libgcc_s\.so\.1|libstdc\+\+\.so\.6")
# From the folder of torch, or of NVIDIA's libraries beside it.
TORCH = re.compile(r"lib(c10|c10_cuda|torch_cpu|torch_cuda)\.so|libgomp\.so\.1|libcu(dart|pti)\.so\.\d+")
RUN_PATH = "$ORIGIN/../lib"
TIME = 315532800  # the first second of 1980, for every file


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def installed_libraries():
    """The machine's 64-bit libraries: name -> path."""
    found = re.findall(r"^\s*(\S+) \(libc6,x86-64[^)]*\) => (\S+)$", output_of("/sbin/ldconfig", "-p"), re.MULTILINE)
    return {name: path for name, path in reversed(found)}  # the first of a name is what the loader takes


def needed(file):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", output_of("readelf", "-dW", str(file)))


def add_program(source, target, unused):
    target.parent.mkdir(exist_ok=True)
    subprocess.run(["strip", "-o", str(target), source], check=True)
    target.chmod(0o755)
    without = [option for name in unused if name in needed(target) for option in ("--remove-needed", name)]
    subprocess.run(["patchelf", *without, "--force-rpath", "--set-rpath", RUN_PATH, str(target)], check=True)


def add_libraries(programs, folder):
    """Copies what the programs load, and what that loads in turn. Returns the paths on this machine."""
    folder.mkdir()
    installed = installed_libraries()
    taken = {}
    waiting = list(programs)
    while waiting:
        file = waiting.pop()
        for name in needed(file):
            if name in taken or SYSTEM.fullmatch(name) or TORCH.fullmatch(name):
                continue
            if name not in installed:
                sys.exit(f"{file} loads {name}, which is neither LibTorch's nor installed on this machine (ldconfig -p)")
            taken[name] = pathlib.Path(installed[name]).resolve()
            shutil.copyfile(taken[name], folder / name)
            subprocess.run(["patchelf", "--remove-rpath", str(folder / name)], check=True)
            waiting.append(folder / name)
    return sorted(taken.values())


def add_licenses(libraries, folder):
    """Copies the copyright files of the Debian packages that the libraries are from."""
    if not shutil.which("dpkg-query"):
        return
    folder.mkdir()
    for library in libraries:
        # dpkg knows a library by the path that its package has it under, which may be the one without /usr.
        paths = {str(library), str(library).removeprefix("/usr"), "/usr" + str(library)}
        found = subprocess.run(["dpkg-query", "--search", *paths], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for package in re.findall(r"^([^:\s]+)", found.stdout, re.MULTILINE)[:1]:
            shutil.copyfile(f"/usr/share/doc/{package}/copyright", folder / f"{package}.txt")


def newest_version(files, prefix):
    """The newest version of a library's symbols (GLIBC, GLIBCXX) that the files ask for."""
    text = output_of("readelf", "-VW", *map(str, files))
    versions = set(re.findall(rf"\b{prefix}_(\d+(?:\.\d+)+)\b", text))
    return max(versions, key=lambda version: [int(part) for part in version.split(".")])


def write_archive(root, archive):
    def member(info):
        info.mtime = TIME
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
        return info

    with subprocess.Popen(["zstd", "--quiet", "-12", "-o", archive], stdin=subprocess.PIPE) as zstd:
        with tarfile.open(fileobj=zstd.stdin, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for path in sorted(root.rglob("*")):
                tar.add(path, arcname=str(path.relative_to(root.parent)), recursive=False, filter=member)
        zstd.stdin.close()
    if zstd.returncode != 0:
        sys.exit(f"zstd ended with status {zstd.returncode}")


def main():
    contents = json.loads(pathlib.Path(sys.argv[1]).read_text())
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch) / contents["name"]
        launchers, libexec = root / "bin", root / "libexec"
        launchers.mkdir(parents=True)
        for path, folder in contents["files"]:
            (root / folder).mkdir(exist_ok=True)
            shutil.copy(path, root / folder)
        programs = []
        for path, folder in contents["programs"]:
            programs.append(root / folder / pathlib.Path(path).name)
            add_program(path, programs[-1], contents["unused"])
            if folder == libexec.name:
                shutil.copy(contents["launcher"], launchers / programs[-1].name)
        for path in contents["scripts"]:
            script = pathlib.Path(shutil.copy(path, libexec))
            (launchers / script.stem).symlink_to(f"../{libexec.name}/{script.name}")
        add_licenses(add_libraries(programs, root / "lib"), root / "licenses")
        binaries = programs + sorted((root / "lib").iterdir())
        facts = {**contents["facts"], **{name.lower(): newest_version(binaries, name) for name in ("GLIBC", "GLIBCXX")}}
        (root / "README.md").write_text(pathlib.Path(contents["readme"]).read_text().format_map(facts))
        (libexec / "facts.sh").write_text("".join(f"{name}={value}\n" for name, value in sorted(facts.items())))
        wheels = contents["wheels"].items()
        (libexec / "requirements.txt").write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in wheels))
        write_archive(root, sys.argv[2])


if __name__ == "__main__":
    main()
