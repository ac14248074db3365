"""wheels_repository: unpacks pinned Python wheels side by side into one repository."""

# Every manylinux tag that a wheel for a glibc of 2.28 or newer may carry.
_TAGS = ["_2_28", "_2_27", "_2_25", "_2_24", "_2_18", "_2_17", "2014", "_2_12", "2010", "_2_5", "1"]

def check_python(ctx):
    """Fails with a remedy unless python3 has pip; for repository rules that download wheels."""
    if not ctx.which("python3"):
        fail("\n\n@%s needs python3 with pip to download wheels, and there is no python3 on the PATH.\nRemedy: apt-get install python3-pip, or start Bazel by ./bazelw, which installs what is missing.\n" % ctx.name)
    if ctx.execute(["python3", "-m", "pip", "--version"]).return_code:
        fail("\n\n@%s needs pip to download wheels, and `python3 -m pip` does not work.\nRemedy: apt-get install python3-pip, or start Bazel by ./bazelw, which installs what is missing.\n" % ctx.name)

def download_wheels(ctx, wheels, timeout = 3600):
    """Downloads and unpacks `wheels` ("name==version" -> sha256) into the repository's root."""
    check_python(ctx)
    ctx.file("requirements.txt", "".join(["%s --hash=sha256:%s\n" % (name, sha256) for name, sha256 in wheels.items()]))
    command = ["python3", "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--no-cache-dir", "--only-binary=:all:", "--python-version=3.11", "--implementation=cp", "--dest=wheels", "--requirement=requirements.txt"]
    result = ctx.execute(command + ["--platform=manylinux%s_x86_64" % tag for tag in _TAGS], timeout = timeout)
    if result.return_code:
        fail("\n\npip could not download the wheels of @%s:\n%s\nRemedy: check the network and pip's configuration (a proxy, an index of your own), and the room on the disk; then run the same command again.\n" % (ctx.name, result.stderr))
    for wheel in ctx.path("wheels").readdir():
        ctx.symlink(wheel, "wheels/" + wheel.basename + ".zip")
        ctx.extract("wheels/" + wheel.basename + ".zip")
        ctx.delete(wheel)
    ctx.delete("wheels")

def _check_disk(ctx):
    result = ctx.execute(["sh", "-c", "df -Pk . | awk 'NR==2 {print int($4/1024)}'"])
    if result.return_code or not result.stdout.strip().isdigit():
        return
    free = int(result.stdout.strip())
    if free < ctx.attr.needs_mb:
        fail("\n\nThe wheels of @%s need %d MB while they are unpacked, and %s has %d MB free.\nRemedy: make room there, or put Bazel's output elsewhere: bazel --output_user_root=/a/larger/disk ...\n" % (ctx.name, ctx.attr.needs_mb, ctx.path("."), free))

def _use_installed(ctx, root):
    """Takes torch from `root`, a site-packages folder with torch/ and nvidia/ in it."""
    version = [w for w in ctx.attr.wheels if w.startswith("torch==")][0].split("==")[1]
    found = ctx.execute(["sh", "-c", "sed -n \"s/^__version__ = '\\([0-9.]*\\).*/\\1/p\" '%s/torch/version.py'" % root])
    if found.return_code or found.stdout.strip() != version:
        fail("\n\n%s=%s: expected the site-packages folder of torch %s (a folder with torch/version.py in it), found %s.\nRemedy: unset %s to have the wheels downloaded, or point it at the folder that holds torch/ and nvidia/.\n" % (ctx.attr.root_variable, root, version, ("torch " + found.stdout.strip()) if found.stdout.strip() else "no torch there", ctx.attr.root_variable))
    ctx.symlink(root + "/torch/lib", "torch/lib")
    ctx.symlink(root + "/nvidia", "nvidia")
    copied = ctx.execute(["cp", "-rL", root + "/torch/include", "torch/include"])
    if copied.return_code:
        fail("\n\ncould not copy %s/torch/include: %s" % (root, copied.stderr))

def _wheels_repository_impl(ctx):
    root = ctx.os.environ.get(ctx.attr.root_variable, "") if ctx.attr.root_variable else ""
    if root:
        _use_installed(ctx, root)
    else:
        _check_disk(ctx)
        download_wheels(ctx, ctx.attr.wheels)
    for path in ctx.attr.remove:
        ctx.delete(path)
    ctx.template("BUILD.bazel", ctx.attr.build_file, {"%{root}": str(ctx.path("."))})

wheels_repository = repository_rule(
    implementation = _wheels_repository_impl,
    attrs = {
        "build_file": attr.label(doc = "The BUILD file; %{root} in it becomes the repository's absolute path."),
        "needs_mb": attr.int(doc = "Room needed on the disk while unpacking."),
        "remove": attr.string_list(doc = "Paths to delete afterwards."),
        "root_variable": attr.string(doc = "Environment variable naming a site-packages folder to use instead."),
        "wheels": attr.string_dict(doc = "name==version -> sha256"),
    },
    environ = ["LIBTORCH_ROOT"],
)
