"""cc_library, cc_binary and cc_test for files without LibTorch, with the precompiled header of what most of them include.

The header is taken by a compiler flag, so sources still include narrowly what they name, and compile without it too.
Files that include LibTorch's headers have torch_library and its like (//third_party/libtorch:defs.bzl).
"""

_COPTS = ["-include", "third_party/pch/standard.h"]
_DEPS = ["//third_party/pch:standard"]

def cc_library(name, srcs = [], deps = [], copts = [], **kwargs):
    if not srcs:
        native.cc_library(name = name, deps = deps, copts = copts, **kwargs)
        return
    native.cc_library(name = name, srcs = srcs, copts = _COPTS + copts, deps = deps + _DEPS, **kwargs)

def cc_binary(name, deps = [], copts = [], **kwargs):
    native.cc_binary(name = name, copts = _COPTS + copts, deps = deps + _DEPS, **kwargs)

def cc_test(name, deps = [], copts = [], **kwargs):
    native.cc_test(name = name, copts = _COPTS + copts, deps = deps + _DEPS, **kwargs)
