"""network_family(): the targets of a family of networks."""

load("//ml/base:plugin.bzl", "plugin")

def network_family(name, deps = []):
    """A plugin of //ml/models:model_builder: its library registers Create<Message>(parameters, defaults).

    See plugin() in //ml/base:plugin.bzl for the targets that it makes and the arguments.
    """
    plugin(
        name = name,
        interface = "//ml/models:model_builder",
        deps = deps + [
            "//ml/base:field_error",
            "//ml/base:status_macros",
            "//ml/models:blocks",
            "//ml/models:image_sizes",
            "//ml/network:network_writer",
            "//third_party/absl:strings",
        ],
        uses_torch = False,
    )
