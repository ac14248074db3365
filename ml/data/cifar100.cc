#include "ml/data/cifar100.h"

#include "ml/data/cifar_binary.h"

namespace prunelab {
namespace {

CifarFormat FormatOf(const Cifar100& parameters) {
  CifarFormat format;
  format.name = "CIFAR-100";
  format.stream = "cifar100";
  format.fetch = "bazel run //tools:cifar10 -- --cifar100";
  format.archive = "cifar-100-binary.tar.gz";
  format.folder = "cifar-100-binary";
  format.train_files = {"train.bin"};
  format.test_file = "test.bin";
  format.labels = {{"coarse label", 20}, {"fine label", 100}};
  format.label = parameters.labels() == Cifar100::COARSE ? 0 : 1;
  return format;
}

absl::StatusOr<DatasetInfo> Describe(const Cifar100& parameters) {
  return DescribeCifar(FormatOf(parameters), CifarOptionsOf(parameters));
}

absl::StatusOr<Dataset> Open(const Cifar100& parameters) {
  return OpenCifar(FormatOf(parameters), CifarOptionsOf(parameters));
}

}  // namespace

TypedDatasetFactory<Cifar100> CreateCifar100() { return {&Describe, &Open}; }

namespace {
const bool registered = RegisterDataset(&CreateCifar100);
}  // namespace

}  // namespace prunelab
