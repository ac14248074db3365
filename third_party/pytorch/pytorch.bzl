"""pytorch_repository and pytorch_test: Python's torch of @libtorch's wheel, for tests on the CPU.

The repository's folder `site` is for PYTHONPATH. The wheel is for CPython 3.11; under another python3, tests run without torch.
"""

load("//third_party/libtorch:wheels.bzl", "download_wheels")

# What `import torch`, torch.compile and torch.export need besides, all of it pure Python.
_REQUIREMENTS = {
    "filelock==3.20.0": "339b4732ffda5cd79b13f4e2711a31b0365ce445d95d243bb996273d072546a2",
    "mpmath==1.3.0": "a0b2b9fe80bbcd81a6647ff13108738cfb482d481d826cc0e02f5b35e5c88d2c",
    "networkx==3.5": "0030d386a9a06dee3565298b4a734b68589749a544acbb6c412dc9e2489ec6ec",
    "sympy==1.14.0": "e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5",
    "typing-extensions==4.15.0": "f0fa19c6845758ab08074a0cfa8b7aecb71c999ca73d62883bc25cc018c4e548",
}

def _pytorch_repository_impl(ctx):
    root = ctx.os.environ.get("LIBTORCH_ROOT", "") or str(ctx.path(ctx.attr._libtorch).dirname)
    download_wheels(ctx, _REQUIREMENTS)
    made = ctx.execute(["sh", ctx.path(ctx.attr._site), root])
    if made.return_code:
        fail("\n\n@%s could not be made of the torch in %s:\n%s\n" % (ctx.name, root, made.stderr))
    ctx.file("BUILD.bazel", 'filegroup(name = "pytorch", srcs = ["site"], visibility = ["//visibility:public"])\n')

pytorch_repository = repository_rule(
    implementation = _pytorch_repository_impl,
    attrs = {
        "_libtorch": attr.label(default = "@libtorch//:BUILD.bazel"),
        "_site": attr.label(default = "//third_party/pytorch:site.sh"),
    },
    environ = ["LIBTORCH_ROOT"],
)

def pytorch_test(name, src, args = [], data = [], **kwargs):
    """A test in Python, which can import torch if python3 is the wheel's.

    Args:
      name: of the test.
      src: the program.
      args: its arguments.
      data: what it reads.
      **kwargs: as for sh_test.
    """
    native.sh_test(
        name = name,
        srcs = ["//third_party/pytorch:run.sh"],
        args = ["$(location %s)" % src] + args,
        data = [src, "@pytorch"] + data,
        **kwargs
    )
