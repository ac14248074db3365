"""instruction_set_libraries(): one source, compiled once for each instruction set."""

_FLAGS = {
    "avx2": [
        "-mavx2",
        "-mfma",
    ],
    "avx512": [
        "-mavx2",
        "-mfma",
        "-mavx512f",
        "-mavx512vl",
        "-mavx512dq",
        "-mavx512bw",
    ],
    "avx512_vnni": [
        "-mavx2",
        "-mfma",
        "-mavx512f",
        "-mavx512vl",
        "-mavx512dq",
        "-mavx512bw",
        "-mavx512vnni",
    ],
    "generic": [],
}

def instruction_set_libraries(name, instruction_sets, deps = []):
    """Compiles <name>.cc for each instruction set, in the namespace PRUNELAB_INSTRUCTION_SET.

    <name>.h declares the same functions in each of these namespaces; ForBestInstructionSet() in instruction_set.h takes
    those that suit the processor.

    Args:
      name: of the library that links all of them.
      instruction_sets: some of avx2, avx512, avx512_vnni and generic (no flags: what every processor has).
      deps: of the source.
    """
    for instruction_set in instruction_sets:
        native.cc_library(
            name = name + "_" + instruction_set,
            srcs = [name + ".cc"],
            hdrs = [name + ".h"],
            # Vectors stay inside these sources, so it does not matter how one would be passed (psabi). GCC 12 takes what
            # its own headers leave undefined on purpose for a mistake (uninitialized).
            copts = [
                "-O3",
                "-Wno-maybe-uninitialized",
                "-Wno-psabi",
            ] + _FLAGS[instruction_set],
            local_defines = ["PRUNELAB_INSTRUCTION_SET=" + instruction_set],
            visibility = ["//visibility:private"],
            deps = deps,
        )
    native.cc_library(
        name = name,
        hdrs = [name + ".h"],
        visibility = ["//visibility:private"],
        deps = deps + [":%s_%s" % (name, instruction_set) for instruction_set in instruction_sets],
    )
