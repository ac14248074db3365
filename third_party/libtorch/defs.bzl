"""torch_library, torch_test, torch_binary: cc rules for files that use LibTorch, with its precompiled header.

The header is taken by a compiler flag, so sources still include narrowly what they name, and compile without it too.
A header (.h) includes ATen/core/Tensor.h and nothing larger.
"""

_PCH_COPTS = ["-include", "third_party/pch/aten.h"]
_DEPS = ["//third_party/pch:aten", "@libtorch"]

def torch_library(name, deps = [], copts = [], **kwargs):
    native.cc_library(name = name, copts = _PCH_COPTS + copts, deps = deps + _DEPS, **kwargs)

def torch_binary(name, deps = [], copts = [], **kwargs):
    native.cc_binary(name = name, copts = _PCH_COPTS + copts, deps = deps + _DEPS + ["//third_party/cuda:torch_cuda"], **kwargs)

def torch_test(name, deps = [], copts = [], **kwargs):
    native.cc_test(name = name, copts = _PCH_COPTS + copts, deps = deps + _DEPS + ["//third_party/googletest:gtest_main"], **kwargs)
