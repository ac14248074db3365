"""plugin(): what the macros of every plugin kind share. Use the kind's own macro, e.g. //ml/pruning:defs.bzl."""

load("//third_party/libtorch:defs.bzl", "torch_library")

def camel_case(name):
    """"dynamic_l1" -> "DynamicL1"."""
    return "".join([word.capitalize() for word in name.split("_")])

def plugin(name, summary, interface, register, message = None, proto = None, srcs = None, hdrs = None, deps = [], proto_deps = []):
    """Makes the targets of one plugin, except for its tests.

    <name>_proto, <name>_cc_proto: the parameters' message.
    <name>: the library; <name>.h declares Create<Message>.
    <name>_registration: links the plugin into a program (alwayslink).

    Args:
      name: the target's name; also of its files.
      summary: one line for --list.
      interface: the label of the kind's interface library, whose header has the same name.
      register: the C++ function template that registers a plugin of the kind.
      message: the parameters' message; by default the name in CamelCase.
      proto: the .proto file; by default <name>.proto.
      srcs: by default <name>.cc.
      hdrs: by default <name>.h.
      deps: of the library, besides the interface and the proto.
      proto_deps: proto libraries that the .proto imports.
    """
    message = message or camel_case(name)
    package = native.package_name()
    native.proto_library(
        name = name + "_proto",
        srcs = [proto or name + ".proto"],
        deps = proto_deps,
    )
    native.cc_proto_library(
        name = name + "_cc_proto",
        deps = [":%s_proto" % name],
    )
    torch_library(
        name = name,
        srcs = srcs or [name + ".cc"],
        hdrs = hdrs or [name + ".h"],
        deps = deps + [":%s_cc_proto" % name, interface],
    )
    native.genrule(
        name = name + "_registration_cc",
        outs = [name + "_registration.cc"],
        cmd = """cat > $@ <<'END'
#include "{package}/{name}.h"
#include "{header}"

namespace prunelab {{
namespace {{
const bool registered = {register}<{message}>("{summary}", "//{package}:{name}_registration", &Create{message});
}}  // namespace
}}  // namespace prunelab
END
""".format(
            package = package,
            name = name,
            header = "%s/%s.h" % (Label("//" + package + interface if interface.startswith(":") else interface).package, Label("//" + package + interface if interface.startswith(":") else interface).name),
            register = register,
            message = message,
            summary = summary.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$"),
        ),
    )
    torch_library(
        name = name + "_registration",
        srcs = [name + "_registration.cc"],
        alwayslink = True,
        deps = [":" + name, interface],
    )
