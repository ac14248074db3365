"""regularizer(): the targets of a regularizer, with its conformance test."""

load("//ml/base:plugin.bzl", "plugin")
load("//third_party/libtorch:defs.bzl", "torch_test")

# Every regularizer that //experiments:ablation links.
REGULARIZERS = [
    "batch_norm_l1",
    "cov",
    "decov",
    "group_lasso",
    "kernel_cov",
    "none",
    "orthogonality",
    "orthoreg",
    "paper_zero",
    "squared_correlation",
    "srip",
    "zhu_decorrelation",
]

def regularizer(name, summary, config, refused = {}, message = None, deps = [], **kwargs):
    """A plugin of //ml/regularizers:regularizer: <name>.h declares Create<Message>(parameters, network).

    Makes <name>, <name>_proto, <name>_cc_proto, <name>_registration (see plugin() in //ml/base:plugin.bzl, which also
    explains the other arguments), and <name>_conformance_test, the shared suite on this regularizer.

    Args:
      name: the target's name; also of its files.
      summary: one line for --list.
      config: parameters for the conformance test, as a text proto, may be empty; or a list of them, of which each is
        tried. The suite's network is in conformance.cc; its convolutions are named stem, wide, same, point, row, and
        out.
      refused: parameters that must be refused (text protos) -> the field that the error must name.
      message: the parameters' message; by default the name in CamelCase.
      deps: of the library, besides the interface and the proto.
      **kwargs: of plugin().
    """
    plugin(
        name = name,
        summary = summary,
        message = message,
        interface = "//ml/regularizers:regularizer",
        register = "RegisterRegularizer",
        deps = deps,
        **kwargs
    )
    torch_test(
        name = name + "_conformance_test",
        env = {
            "REGULARIZER_CONFIGS": config if type(config) == "string" else ";;".join(config),
            "REGULARIZER_REFUSED": ";;".join(["%s => %s" % item for item in refused.items()]),
        },
        deps = [
            ":%s_registration" % name,
            "//ml/regularizers/testing:conformance",
        ],
    )
