"""network_family(): the targets of a family of networks."""

load("//ml/base:plugin.bzl", "plugin")

# Every family that //experiments:ablation links.
NETWORK_FAMILIES = [
    "resnet_cifar",
    "resnet_imagenet",
    "vgg",
]

def network_family(name, summary, message = None, deps = [], **kwargs):
    """A plugin of //ml/models:model_builder: <name>.h declares Create<Message>(parameters, defaults).

    See plugin() in //ml/base:plugin.bzl for the targets that it makes and the other arguments.
    """
    plugin(
        name = name,
        summary = summary,
        message = message,
        interface = "//ml/models:model_builder",
        register = "RegisterNetworkFamily",
        deps = deps + [
            "//ml/base:field_error",
            "//ml/base:status_macros",
            "//ml/models:image_sizes",
            "//ml/network:network_writer",
            "//third_party/absl:strings",
        ],
        **kwargs
    )
