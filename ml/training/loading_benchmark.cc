// Reads training batches of a data set as a training would, and says how long it took. tools/benchmark/image_loading.py
// calls it beside torchvision's DataLoader: for each line on standard input, one epoch's first batches are read, and
// the seconds that they took are a line on standard output.
#include <ATen/Parallel.h>
#include <gflags/gflags.h>

#include <algorithm>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/base/field_error.h"
#include "ml/base/flags.h"
#include "ml/base/parse_plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/steady_seconds.h"
#include "ml/data/batches.h"
#include "ml/data/dataset.h"
#include "ml/training/augmentation.h"
#include "ml/training/training_config.h"

DEFINE_string(dataset, "", "E.g. '[type.googleapis.com/prunelab.ImageFolder] { path: \"imagenet\" cache: NONE }'.");
DEFINE_string(training, "batch_size: 128", "Text of a config's `training`: batch_size, crops, flips, colours.");
DEFINE_int64(images, 4096, "Images of a round, rounded down to whole batches; at most the data set's.");
DEFINE_int32(threads, 1, "Threads that read ahead.");

namespace prunelab {
namespace {

absl::Status Main() {
  if (FLAGS_threads < 1) return absl::InvalidArgumentError(absl::StrCat("--threads=", FLAGS_threads, ": at least 1"));
  at::set_num_threads(FLAGS_threads);
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any plugin, ParsePlugin("--dataset", FLAGS_dataset));
  PRUNELAB_ASSIGN_OR_RETURN(const Dataset data, OpenDataset(plugin));
  for (const std::string& note : data.notes) std::cerr << note << "\n";
  Training training;
  if (!google::protobuf::TextFormat::ParseFromString(absl::StrCat("epochs: 1 ", FLAGS_training), &training)) {
    return absl::InvalidArgumentError(absl::StrCat("--training=", FLAGS_training, ": is no text of a training"));
  }
  PRUNELAB_RETURN_IF_ERROR(InField("--training", ValidateTraining(training)));
  PRUNELAB_RETURN_IF_ERROR(InField("--training", CheckBatchSize(training, data.train.size())));
  PRUNELAB_RETURN_IF_ERROR(InField("--training", CheckAugmentation(training, data.train)));
  TrainingBatches batches(data.train, data.normalization, AugmentationOf(training), training.batch_size(), 1,
                          at::kFloat, at::kCPU);
  const int64_t count = std::max<int64_t>(1, std::min(FLAGS_images, data.train.size()) / training.batch_size());
  int64_t epoch = 0;
  for (std::string line; std::getline(std::cin, line); ++epoch) {
    const double start = SteadySeconds();
    int64_t images = 0;
    for (int64_t i = 0; i < count; ++i) {
      PRUNELAB_ASSIGN_OR_RETURN(const Batch batch, batches.Get(epoch, i));
      images += batch.images.size(0);
    }
    std::cout << images << " " << SteadySeconds() - start << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  return prunelab::RunMain("times the reading of training batches", argc, argv,
                           [] { return prunelab::ExitStatus(prunelab::Main()); });
}
