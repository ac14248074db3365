"""pruning_strategy(): the targets of a pruning strategy, with its tests."""

load("//ml/base:plugin.bzl", "plugin", "plugin_test")
load("//third_party/libtorch:defs.bzl", "torch_test")

# What strategies are made of.
_TOOLS = [
    "//ml/base:check",
    "//ml/base:field_error",
    "//ml/base:status_macros",
    "//ml/pruning:cubic_schedule",
    "//ml/pruning:epoch_end_pruning",
    "//ml/pruning:layer_ranking",
    "//ml/pruning:layers",
    "//ml/pruning:one_time_pruning",
    "//ml/pruning:parameter_checks",
    "//ml/pruning:ranked_pruning",
    "//ml/pruning:ranking",
    "//ml/pruning:scored_pruning",
    "//ml/pruning:scores",
    "//ml/pruning:update_times",
    "//third_party/absl:status",
    "//third_party/absl:strings",
]

_PROTOS = [
    "//ml/base:presence_proto",
    "//ml/network:layer_selection_proto",
    "//ml/pruning:field_options_proto",
    "//ml/pruning:ranking_proto",
]

def pruning_strategy(name, config, deps = [], acts_on = ["*", "*"], test_deps = []):
    """A plugin of //ml/pruning:pruning_strategy, of <name>.proto and <name>.cc.

    Makes <name>, <name>_proto and <name>_cc_proto (see plugin() in //ml/base:plugin.bzl), <name>_conformance_test, the
    shared suite on this strategy, and <name>_test where there is a <name>_test.cc.

    Args:
      name: the target's name; also of its files, and in CamelCase that of the parameters' message.
      config: parameters for the conformance test, as a text proto or a list of them; may be empty. The suite trains for
        3 epochs of 9 steps, so schedules must end in them. Its networks are in testing/conformance.cc; both have
        convolutions named stem, block.conv1, block.conv2 and block.downsample.
      deps: of the library, besides the folder's tools for strategies.
      acts_on: for each of these two networks a glob over the convolutions that the strategy can prune.
      test_deps: of <name>_test, besides the layers of //ml/pruning/testing.
    """
    plugin(
        name = name,
        interface = "//ml/pruning:pruning_strategy",
        deps = _TOOLS + deps,
        proto_deps = _PROTOS,
    )
    torch_test(
        name = name + "_conformance_test",
        env = {
            "PRUNING_STRATEGY_ACTS_ON": ";;".join(acts_on),
            "PRUNING_STRATEGY_CONFIGS": ";;".join(config if type(config) == "list" else [config]),
        },
        deps = [
            ":" + name,
            "//ml/pruning/testing:conformance",
        ],
    )
    plugin_test(
        name = name,
        deps = test_deps + [
            "//ml/base:field_error",
            "//ml/pruning:pruning_strategy",
            "//ml/pruning/testing:example_layers",
            "//ml/pruning/testing:strategy_reference",
            "//third_party/protobuf",
        ],
    )
