"""ablation_binary: the ablation program with the plugins that it can name."""

load("//third_party/libtorch:defs.bzl", "torch_binary")

def ablation_binary(name, models, datasets, strategies, regularizers, **kwargs):
    """Links the ablation program with its plugins.

    Args:
      name: of the binary.
      models: network families, e.g. ["//ml/models:resnet_cifar"].
      datasets: of data sets.
      strategies: of pruning strategies; //ml/pruning:none is always linked.
      regularizers: of regularizers; //ml/regularizers:none is always linked.
      **kwargs: as for cc_binary.
    """
    always = ["//ml/pruning:none", "//ml/regularizers:none"]
    plugins = models + datasets + strategies + regularizers
    torch_binary(
        name = name,
        deps = ["//experiments:main"] + plugins + [label for label in always if label not in plugins],
        **kwargs
    )
