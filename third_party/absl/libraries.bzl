"""absl_libraries: which libraries this system's Abseil has that others' do not.

Abseil moves code between its libraries from version to version. The repository's libraries.bzl has optional_linkopts(names): -l for
each of the names that is installed. It is looked at again whenever Bazel's server starts.
"""

_FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]

def _absl_libraries_impl(ctx):
    found = [name for name in ctx.attr.optional if [f for f in _FOLDERS if ctx.path("%s/lib%s.so" % (f, name)).exists]]
    ctx.file("libraries.bzl", "def optional_linkopts(names):\n    return [\"-l\" + name for name in names if name in %r]\n" % found)
    ctx.file("BUILD.bazel", "")

absl_libraries = repository_rule(implementation = _absl_libraries_impl, attrs = {"optional": attr.string_list()}, local = True)
