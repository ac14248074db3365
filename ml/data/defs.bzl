"""dataset(): the targets of a data set."""

load("//ml/base:plugin.bzl", "camel_case", "plugin")
load("//third_party/libtorch:defs.bzl", "torch_test")

# Every data set that //experiments:ablation links.
DATASETS = [
    "cifar10",
    "cifar100",
    "digits",
    "image_folder",
    "safetensors_dataset",
    "synthetic",
]

def dataset(name, summary, config, message = None, deps = [], test_files = [], **kwargs):
    """A plugin of //ml/data:dataset: <name>.h declares TypedDatasetFactory<Message> Create<Message>().

    Besides the targets of plugin() in //ml/base:plugin.bzl, makes <name>_conformance_test.

    Args:
      name: the target's name; also of its files.
      summary: one line for --list.
      config: the parameters for the conformance test, in text form, e.g. "train_images: 100". Paths in it are taken from
        the test's temporary folder.
      message: the parameters' message; by default the name in CamelCase.
      deps: of the library, besides those that every data set needs.
      test_files: test libraries (alwayslink) whose testing::Environment writes the files that `config` names.
      **kwargs: other arguments of plugin().
    """
    message = message or camel_case(name)
    plugin(
        name = name,
        summary = summary,
        message = message,
        interface = "//ml/data:dataset",
        register = "RegisterDataset",
        deps = deps + [
            "//ml/base:check",
            "//ml/base:field_error",
            "//ml/base:random",
            "//ml/base:status_macros",
            "//third_party/absl:status",
            "//third_party/absl:strings",
        ],
        **kwargs
    )
    torch_test(
        name = name + "_conformance_test",
        env = {"PRUNELAB_DATASET": "[type.googleapis.com/prunelab.%s] { %s }" % (message, config)},
        deps = test_files + [
            ":%s_registration" % name,
            "//ml/data/testing:dataset_conformance",
        ],
    )
