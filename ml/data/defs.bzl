"""dataset(): the targets of a data set."""

load("//ml/base:plugin.bzl", "camel_case", "plugin")
load("//third_party/libtorch:defs.bzl", "torch_test")

def dataset(name, config, deps = [], test_files = [], proto_deps = []):
    """A plugin of //ml/data:dataset: its library registers TypedDatasetFactory<Message> Create<Message>().

    Besides the targets of plugin() in //ml/base:plugin.bzl, makes <name>_conformance_test.

    Args:
      name: the target's name; also of its files.
      config: the parameters for the conformance test, in text form, e.g. "train_images: 100". Paths in it are taken from
        the test's temporary folder.
      deps: of the library, besides those that every data set needs.
      test_files: test libraries (alwayslink) whose testing::Environment writes the files that `config` names.
      proto_deps: as in plugin().
    """
    plugin(
        name = name,
        interface = "//ml/data:dataset",
        deps = deps + [
            "//ml/base:check",
            "//ml/base:field_error",
            "//ml/base:random",
            "//ml/base:status_macros",
            "//third_party/absl:status",
            "//third_party/absl:strings",
        ],
        proto_deps = proto_deps,
    )
    torch_test(
        name = name + "_conformance_test",
        env = {"PRUNELAB_DATASET": "[type.googleapis.com/prunelab.%s] { %s }" % (camel_case(name), config)},
        deps = test_files + [
            ":" + name,
            "//ml/data/testing:dataset_conformance",
        ],
    )
