"""cuda_toolkit: finds nvcc; fetched only when a target under --config=cuda asks for it."""

def _cuda_toolkit_impl(ctx):
    home = ctx.os.environ.get("CUDA_HOME", "")
    nvcc = ctx.path(home + "/bin/nvcc") if home else ctx.which("nvcc")
    if not nvcc or not nvcc.exists:
        nvcc = ctx.path("/usr/local/cuda/bin/nvcc")
    if not nvcc.exists:
        fail("\n\n--config=cuda needs nvcc of the CUDA Toolkit 13, and there is none in $CUDA_HOME/bin (%s), on the PATH or in /usr/local/cuda/bin.\nRemedy: install the CUDA Toolkit 13, or set CUDA_HOME to where it is, or build without --config=cuda for the CPU.\n" % (home or "unset"))
    version = ctx.execute([nvcc, "--version"])
    if version.return_code or "release 13." not in version.stdout:
        fail("\n\n--config=cuda needs nvcc of the CUDA Toolkit 13 (libtorch is built against it); %s says:\n%s%s\nRemedy: set CUDA_HOME to a CUDA Toolkit 13.\n" % (nvcc, version.stdout, version.stderr))
    ctx.file("nvcc.sh", "#!/bin/sh\nexec '%s' \"$@\"\n" % nvcc, executable = True)
    ctx.file("BUILD.bazel", 'sh_binary(name = "nvcc", srcs = ["nvcc.sh"], visibility = ["//visibility:public"])\n')

cuda_toolkit = repository_rule(implementation = _cuda_toolkit_impl, environ = ["CUDA_HOME", "PATH"], local = True)
