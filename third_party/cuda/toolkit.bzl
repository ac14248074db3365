"""cuda_toolkit: finds nvcc; fetched only when a target under --config=cuda asks for it."""

_REMEDY = "Remedy: install the CUDA Toolkit 13, or set CUDA_HOME to the folder where it is, or build without --config=cuda for the CPU.\n"

def _find_nvcc(ctx):
    home = ctx.os.environ.get("CUDA_HOME", "")
    if home:
        nvcc = ctx.path(home + "/bin/nvcc")
        if not nvcc.exists:
            fail("\n\nCUDA_HOME=%s: there is no bin/nvcc in that folder.\n%s" % (home, _REMEDY))
        return nvcc
    on_path = ctx.which("nvcc")
    if on_path:
        return on_path
    for folder in ["/usr/local/cuda", "/usr/local/cuda-13"]:
        nvcc = ctx.path(folder + "/bin/nvcc")
        if nvcc.exists:
            return nvcc
    fail("\n\n--config=cuda needs nvcc of the CUDA Toolkit 13, and there is none on the PATH or in /usr/local/cuda/bin (CUDA_HOME is not set).\n" + _REMEDY)

def _cuda_toolkit_impl(ctx):
    nvcc = _find_nvcc(ctx)
    version = ctx.execute([nvcc, "--version"])
    if version.return_code or "release 13." not in version.stdout:
        fail("\n\n--config=cuda needs nvcc of the CUDA Toolkit 13, which libtorch is built against; %s says:\n%s%s\n%s" % (nvcc, version.stdout, version.stderr, _REMEDY))

    # A script, not a link: nvcc finds the rest of the toolkit by the folder that it is called from.
    ctx.file("nvcc.sh", "#!/bin/sh\nexec '%s' \"$@\"\n" % nvcc, executable = True)
    ctx.file("BUILD.bazel", 'sh_binary(name = "nvcc", srcs = ["nvcc.sh"], visibility = ["//visibility:public"])\n')

cuda_toolkit = repository_rule(implementation = _cuda_toolkit_impl, environ = ["CUDA_HOME", "PATH"], local = True)
