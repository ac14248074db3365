"""regularizer(): the targets of a regularizer, with its tests."""

load("//ml/base:plugin.bzl", "plugin", "plugin_test")
load("//third_party/libtorch:defs.bzl", "torch_test")

# What regularizers are made of.
_TOOLS = [
    "//ml/base:field_error",
    "//ml/base:status_macros",
    "//ml/regularizers:conv_batches",
    "//ml/regularizers:conv_selection",
    "//ml/regularizers:correlation",
    "//ml/regularizers:correlation_penalty",
    "//ml/regularizers:group_norms",
    "//ml/regularizers:layer_penalty",
    "//ml/regularizers:live_filters",
    "//third_party/absl:strings",
]

_PROTOS = [
    "//ml/base:presence_proto",
    "//ml/network:layer_selection_proto",
]

def regularizer(name, config, refused = {}, ignores_masks = [], deps = [], test_deps = []):
    """A plugin of //ml/regularizers:regularizer, of <name>.proto and <name>.cc.

    Makes <name>, <name>_proto and <name>_cc_proto (see plugin() in //ml/base:plugin.bzl), <name>_conformance_test, the
    shared suite on this regularizer, and <name>_test where there is a <name>_test.cc.

    Args:
      name: the target's name; also of its files, and in CamelCase that of the parameters' message.
      config: parameters for the conformance test, as a text proto, may be empty; or a list of them, of which each is
        tried. The suite's network is in testing/conformance.cc; its convolutions are named stem, wide, same, point,
        row, and out.
      refused: parameters that must be refused (text protos) -> the field that the error must name.
      ignores_masks: more parameters for the conformance test, with which the penalty is one on dense weights by its
        definition, so that weights which the masks turn off have a gradient too.
      deps: of the library, besides the folder's tools for regularizers.
      test_deps: of <name>_test, besides the layers of //ml/regularizers/testing.
    """
    plugin(
        name = name,
        interface = "//ml/regularizers:regularizer",
        deps = _TOOLS + deps,
        proto_deps = _PROTOS,
    )
    configs = [config] if type(config) == "string" else config
    torch_test(
        name = name + "_conformance_test",
        env = {
            "REGULARIZER_CONFIGS": ";;".join(configs + ignores_masks),
            "REGULARIZER_IGNORES_MASKS": ";;".join(ignores_masks),
            "REGULARIZER_REFUSED": ";;".join(["%s => %s" % item for item in refused.items()]),
        },
        deps = [
            ":" + name,
            "//ml/regularizers/testing:conformance",
        ],
    )
    plugin_test(
        name = name,
        deps = test_deps + [
            "//ml/base:field_error",
            "//ml/regularizers:regularizer",
            "//ml/regularizers/testing:example_layers",
            "//ml/regularizers/testing:expect_reference",
        ],
    )
