"""fuzz_target: a function fed with arbitrary bytes, by clang's libFuzzer and, in the ordinary tests, by a corpus of files."""

load("//third_party/libtorch:defs.bzl", "torch_binary", "torch_library")

def fuzz_target(name, srcs, corpus, deps):
    """Makes two targets of a source that defines LLVMFuzzerTestOneInput.

    <name>_corpus_test runs it on the corpus, as part of //...; <name> fuzzes it:

      bazel run --config=fuzz //ml/safetensors:safetensors_fuzz -- $PWD/ml/safetensors/safetensors_corpus -max_total_time=600

    Args:
      name: ends in _fuzz.
      srcs: the source.
      corpus: files or groups of files, at least one: a good input of each kind, and what was found.
      deps: what the source needs.
    """
    torch_library(
        name = name + "_entry",
        testonly = True,
        srcs = srcs,
        alwayslink = True,
        visibility = ["//visibility:private"],
        deps = deps,
    )
    native.cc_test(
        name = name + "_corpus_test",
        args = ["$(locations %s)" % files for files in corpus],
        data = corpus,
        deps = [
            ":%s_entry" % name,
            "//third_party/libfuzzer:replay_main",
        ],
    )
    torch_binary(
        name = name,
        testonly = True,
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["manual"],
        deps = [":%s_entry" % name],
    )
