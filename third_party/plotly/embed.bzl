"""embedded_files: files as C++ string views, whatever their size."""

def embedded_files(name, header, files, **kwargs):
    """A library with a function for each file.

    Args:
      name: of the library.
      header: declares `absl::string_view Function();` in namespace prunelab for each file.
      files: file label -> function.
      **kwargs: as for cc_library.
    """
    sources = []
    for label, function in files.items():
        # The assembler copies the bytes; a C++ array of some megabytes would take the compiler half a minute.
        native.genrule(
            name = name + "_" + function + "_object",
            srcs = [label],
            outs = [name + "_" + function + ".o"],
            cmd = """
printf '.section .rodata\\n.global embedded_{f}_begin\\nembedded_{f}_begin:\\n' > $@.S
printf '.incbin "%s"\\n' $< >> $@.S
printf '.global embedded_{f}_end\\nembedded_{f}_end:\\n.section .note.GNU-stack,"",@progbits\\n' >> $@.S
as -o $@ $@.S && rm $@.S""".format(f = function),
        )
        sources.append(name + "_" + function + ".o")
    native.genrule(
        name = name + "_functions",
        outs = [name + "_functions.cc"],
        cmd = "(echo '#include \"" + header + "\"';" + "".join([
            " echo 'extern \"C\" const char embedded_{f}_begin[], embedded_{f}_end[];';".format(f = function) +
            " echo 'absl::string_view prunelab::{f}() {{';".format(f = function) +
            " echo '  return {{embedded_{f}_begin,';".format(f = function) +
            " echo '          static_cast<size_t>(embedded_{f}_end - embedded_{f}_begin)}}; }}';".format(f = function)
            for function in files.values()
        ]) + ") > $@",
    )
    native.cc_library(
        name = name,
        srcs = sources + [name + "_functions.cc"],
        hdrs = [header.split("/")[-1]],
        deps = ["//third_party/absl:strings"],
        **kwargs
    )
