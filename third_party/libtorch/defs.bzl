"""torch_library, torch_cuda_half, torch_test, torch_binary: cc rules for files that use LibTorch, with its precompiled header.

The header is taken by a compiler flag, so sources still include narrowly what they name, and compile without it too.
A header (.h) includes ATen/core/Tensor.h and nothing larger.
"""

load("//third_party/cuda:link_only.bzl", "link_only")

_PCH_COPTS = ["-include", "third_party/pch/aten.h"]
_DEPS = ["//third_party/pch:aten", "@libtorch"]

def torch_library(name, deps = [], copts = [], **kwargs):
    native.cc_library(name = name, copts = _PCH_COPTS + copts, deps = deps + _DEPS, **kwargs)

def torch_cuda_half(name, deps = [], **kwargs):
    """The half of a library that needs CUDA's headers, for its deps under --config=cuda: is linked, without their flags."""
    torch_library(name = name + "_compiled", tags = ["manual"], deps = deps + ["//third_party/cuda:torch_cuda"], **kwargs)
    link_only(name = name, tags = ["manual"], deps = [":" + name + "_compiled"])

def torch_binary(name, deps = [], copts = [], **kwargs):
    native.cc_binary(name = name, copts = _PCH_COPTS + copts, deps = deps + _DEPS + ["//third_party/cuda:torch_cuda"], **kwargs)

def torch_test(name, deps = [], copts = [], **kwargs):
    native.cc_test(name = name, copts = _PCH_COPTS + copts, deps = deps + _DEPS + ["//third_party/googletest:gtest_main"], **kwargs)
