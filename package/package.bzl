"""relocatable_package: the programs with what they need except LibTorch and the system's libraries, as one archive."""

def _relocatable_package_impl(ctx):
    name = "prunelab-%s-%s-x86_64" % (ctx.attr.version, ctx.attr.kind)
    archive = ctx.actions.declare_file(name + ".tar.zst")
    programs = {folder: [target.files_to_run.executable for target in targets] for folder, targets in [
        ("libexec", ctx.attr.programs),
        ("tests", ctx.attr.tests),
    ]}
    placed = [(file, folder) for target, folder in ctx.attr.files.items() for file in target.files.to_list()]
    contents = {
        "facts": {
            "kind": ctx.attr.kind,
            "torch": [wheel for wheel in ctx.attr.wheels if wheel.startswith("torch==")][0].split("==")[1],
            "torch_build": ctx.attr.torch_build,
            "version": ctx.attr.version,
        },
        "files": [[file.path, folder] for file, folder in placed],
        "launcher": ctx.file._launcher.path,
        "name": name,
        "programs": [[file.path, folder] for folder, files in programs.items() for file in files],
        "readme": ctx.file.readme.path,
        "scripts": [file.path for file in ctx.files.scripts],
        "unused": ctx.attr.unused_libraries,
        "wheels": ctx.attr.wheels,
    }
    description = ctx.actions.declare_file(ctx.label.name + "_contents.json")
    ctx.actions.write(description, json.encode(contents))
    ctx.actions.run(
        executable = ctx.file._make,
        arguments = [description.path, archive.path],
        inputs = [description, ctx.file.readme, ctx.file._launcher] + ctx.files.scripts + [file for file, _ in placed] +
                 [file for files in programs.values() for file in files],
        outputs = [archive],
        mnemonic = "Package",
        progress_message = "Packing " + archive.basename,
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([archive]), runfiles = ctx.runfiles(files = [archive]))]

relocatable_package = rule(
    implementation = _relocatable_package_impl,
    doc = """Makes prunelab-<version>-<kind>-x86_64.tar.zst, with one folder of the same name in it.

The libraries that the programs load are looked up on the machine that builds (make_package.py says which are taken).
""",
    attrs = {
        "files": attr.label_keyed_string_dict(
            allow_files = True,
            doc = "Files, and the folder of the package that each is copied to (\".\" is the package's own).",
        ),
        "kind": attr.string(mandatory = True, values = ["cpu", "cuda"]),
        "programs": attr.label_list(doc = "Binaries for users: each gets a launcher of its name in bin/."),
        "readme": attr.label(
            allow_single_file = True,
            doc = "The package's README.md. {glibc}, {torch} and the other facts (libexec/facts.sh) are filled in.",
            mandatory = True,
        ),
        "scripts": attr.label_list(
            allow_files = [".py"],
            doc = "Python programs that need no torch: each gets a link in bin/, without the .py.",
        ),
        "tests": attr.label_list(doc = "Tests, for tests/; one runs by prunelab-env tests/NAME."),
        "torch_build": attr.string(doc = "What torch's version must end with, e.g. +cu130; empty: any build will do."),
        "unused_libraries": attr.string_list(doc = "Libraries that are linked and of which the programs use nothing."),
        "version": attr.string(mandatory = True),
        "wheels": attr.string_dict(doc = "name==version -> sha256, for prunelab-env --install."),
        "_launcher": attr.label(default = "//package:launch.sh", allow_single_file = True),
        "_make": attr.label(default = "//package:make_package.py", allow_single_file = True),
    },
)
