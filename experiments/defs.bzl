"""ablation_binary: the ablation program with the plugins that it can name."""

load("//third_party/libtorch:defs.bzl", "torch_binary")

def ablation_binary(name, models, datasets, strategies, regularizers, **kwargs):
    """Links the ablation program with registrations.

    Args:
      name: of the binary.
      models: registration targets of network families, e.g. ["//ml/models:resnet_cifar_registration"].
      datasets: of data sets.
      strategies: of pruning strategies; //ml/pruning:none_registration is always linked.
      regularizers: of regularizers; //ml/regularizers:none_registration is always linked.
      **kwargs: as for cc_binary.
    """
    always = ["//ml/pruning:none_registration", "//ml/regularizers:none_registration"]
    registrations = models + datasets + strategies + regularizers
    torch_binary(
        name = name,
        deps = ["//experiments:main"] + registrations + [label for label in always if label not in registrations],
        **kwargs
    )
