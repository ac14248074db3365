#include "ml/data/cifar10.h"

#include "absl/strings/str_cat.h"
#include "ml/data/cifar_binary.h"

namespace prunelab {
namespace {

const CifarFormat& Format() {
  static const auto* format = [] {
    auto* cifar10 = new CifarFormat;
    cifar10->name = "CIFAR-10";
    cifar10->stream = "cifar10";
    cifar10->fetch = "bazel run //tools:cifar10 --";
    cifar10->archive = "cifar-10-binary.tar.gz";
    cifar10->folder = "cifar-10-batches-bin";
    for (int i = 1; i <= 5; ++i) cifar10->train_files.push_back(absl::StrCat("data_batch_", i, ".bin"));
    cifar10->test_file = "test_batch.bin";
    cifar10->labels = {{"label", 10}};
    return cifar10;
  }();
  return *format;
}

absl::StatusOr<DatasetInfo> Describe(const Cifar10& parameters) {
  return DescribeCifar(Format(), CifarOptionsOf(parameters));
}

absl::StatusOr<Dataset> Open(const Cifar10& parameters) { return OpenCifar(Format(), CifarOptionsOf(parameters)); }

}  // namespace

TypedDatasetFactory<Cifar10> CreateCifar10() { return {&Describe, &Open}; }

namespace {
const bool registered = RegisterDataset(&CreateCifar10);
}  // namespace

}  // namespace prunelab
