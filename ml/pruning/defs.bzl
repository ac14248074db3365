"""pruning_strategy(): the targets of a pruning strategy, with its conformance test."""

load("//ml/base:plugin.bzl", "plugin")
load("//third_party/libtorch:defs.bzl", "torch_test")

# Every strategy that //experiments:ablation links.
PRUNING_STRATEGIES = [
    "chip",
    "dpf",
    "dynamic_l1",
    "fpgm",
    "gradual",
    "grasp",
    "lamp",
    "movement",
    "network_slimming",
    "none",
    "pfec",
    "random",
    "rigl",
    "snip",
    "soft_filter",
    "static",
    "synflow",
    "taylor",
    "thinet",
    "unstructured",
]

def pruning_strategy(name, summary, config, message = None, deps = [], proto_deps = [], acts_on = ["*", "*"], **kwargs):
    """A plugin of //ml/pruning:pruning_strategy: <name>.h declares Create<Message>(parameters, setup).

    Makes <name>, <name>_proto, <name>_cc_proto, <name>_registration (see plugin() in //ml/base:plugin.bzl, which also
    explains the other arguments), and <name>_conformance_test, the shared suite on this strategy.

    Args:
      name: the target's name; also of its files.
      summary: one line for --list.
      config: parameters for the conformance test, as a text proto or a list of them; may be empty. The suite trains for
        3 epochs of 9 steps, so schedules must end in them. Its networks are in conformance.cc; both have convolutions
        named stem, block.conv1, block.conv2 and block.downsample.
      message: the parameters' message; by default the name in CamelCase.
      acts_on: for each of these two networks a glob over the convolutions that the strategy can prune.
      deps: of the library, besides the interface and the proto.
      proto_deps: proto libraries that the .proto imports, besides //ml/pruning:field_options_proto.
      **kwargs: of plugin().
    """
    plugin(
        name = name,
        summary = summary,
        message = message,
        interface = "//ml/pruning:pruning_strategy",
        register = "RegisterPruningStrategy",
        deps = deps,
        proto_deps = proto_deps + ["//ml/pruning:field_options_proto"],
        **kwargs
    )
    torch_test(
        name = name + "_conformance_test",
        env = {
            "PRUNING_STRATEGY_ACTS_ON": ";;".join(acts_on),
            "PRUNING_STRATEGY_CONFIGS": ";;".join(config if type(config) == "list" else [config]),
        },
        deps = [
            ":%s_registration" % name,
            "//ml/pruning/testing:conformance",
        ],
    )
