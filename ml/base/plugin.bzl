"""plugin(): what the macros of every plugin kind share. Use the kind's own macro, e.g. //ml/pruning:defs.bzl."""

load("//third_party/libtorch:defs.bzl", "torch_library", "torch_test")
load("//third_party/pch:defs.bzl", "cc_library")

def camel_case(name):
    """"dynamic_l1" -> "DynamicL1"."""
    return "".join([word.capitalize() for word in name.split("_")])

def plugin(name, interface, deps = [], proto_deps = [], uses_torch = True):
    """Makes the targets of one plugin, except for its tests.

    <name>_proto, <name>_cc_proto: the parameters' message, of <name>.proto.
    <name>: the library, of <name>.cc, which registers the plugin: linking it makes a program know the plugin. It needs
        a header, <name>.h, only for what others call besides.

    Args:
      name: the target's name; also of its files, and in CamelCase that of the parameters' message.
      interface: the label of the kind's interface library.
      deps: of the library, besides the interface and the proto.
      proto_deps: proto libraries that the .proto imports, besides //ml/base:method_proto.
      uses_torch: whether <name>.cc includes LibTorch's headers.
    """
    native.proto_library(
        name = name + "_proto",
        srcs = [name + ".proto"],
        deps = proto_deps + ["//ml/base:method_proto"],
    )
    native.cc_proto_library(
        name = name + "_cc_proto",
        deps = [":%s_proto" % name],
    )
    library = torch_library if uses_torch else cc_library
    library(
        name = name,
        srcs = [name + ".cc"],
        hdrs = native.glob([name + ".h"]),
        alwayslink = True,
        tags = ["plugin"],
        deps = deps + [":%s_cc_proto" % name, interface],
    )

def plugin_test(name, deps):
    """Makes <name>_test of <name>_test.cc where there is one: what a plugin asserts besides its kind's conformance."""
    for source in native.glob([name + "_test.cc"]):
        torch_test(
            name = name + "_test",
            srcs = [source],
            deps = deps + [":" + name],
        )

def all_plugins(name):
    """A library that links every plugin that the package declares above this call."""
    native.cc_library(
        name = name,
        deps = [":" + rule["name"] for rule in native.existing_rules().values() if "plugin" in rule.get("tags", ())],
    )
