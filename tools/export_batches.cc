// Writes the batches of a run as files, for programs that are to train on exactly the same images: in the run's order,
// augmented and normalized as the run has them.
#include <ATen/ATen.h>
#include <gflags/gflags.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/config/load.h"
#include "experiments/config/selection.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"
#include "ml/data/batches.h"
#include "ml/data/dataset.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/augmentation.h"
#include "ml/training/training_config.h"
#include "ml/training/validation_images.h"

DEFINE_string(config, "", "The ablation: a text proto (docs/config.md).");
DEFINE_string(arm, "", "The arm whose run it is; may be left out if there is one arm.");
DEFINE_int64(seed, -1, "The run's seed; -1: the first of the config's.");
DEFINE_int64(epochs, 1, "How many epochs, from the first one on; at least 1.");
DEFINE_string(output, "", "A folder: epoch_0000.safetensors, ... with `images` [N, C, H, W] and `labels` [N].");

namespace prunelab {
namespace {

absl::StatusOr<Arm> ChosenArm(const LoadedAblation& loaded) {
  if (FLAGS_arm.empty() && loaded.arms.size() == 1) return loaded.arms[0];
  const absl::StatusOr<std::vector<Arm>> chosen = SelectArms(loaded.arms, FLAGS_arm);
  if (!chosen.ok()) return WithPrefix("--arm", chosen.status());
  if (chosen->size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--arm=", FLAGS_arm, ": is ", chosen->size(), " arms; name one, e.g. ", loaded.arms[0].name));
  }
  return chosen->front();
}

absl::Status Export() {
  if (FLAGS_config.empty() || FLAGS_output.empty()) {
    return absl::InvalidArgumentError("--config and --output are needed; see --helpshort");
  }
  if (FLAGS_epochs < 1)
    return absl::InvalidArgumentError(absl::StrCat("--epochs=", FLAGS_epochs, ": must be at least 1"));
  PRUNELAB_ASSIGN_OR_RETURN(const LoadedAblation loaded, LoadAblation(FLAGS_config, ""));
  PRUNELAB_ASSIGN_OR_RETURN(const Arm arm, ChosenArm(loaded));
  const Training& training = arm.config.training();
  const int64_t seed = FLAGS_seed < 0 ? loaded.ablation.seeds().first() : FLAGS_seed;
  PRUNELAB_ASSIGN_OR_RETURN(const Dataset dataset, OpenDataset(arm.config.dataset()));
  PRUNELAB_ASSIGN_OR_RETURN(const ValidationSplit split, ValidationSplitOf(training, dataset));
  const LabelledImages& train = split.train.size() > 0 ? split.train : dataset.train;
  PRUNELAB_RETURN_IF_ERROR(CheckBatchSize(training, train.size()));
  PRUNELAB_RETURN_IF_ERROR(CheckAugmentation(training, dataset.train));
  const std::string output = UserPath(FLAGS_output);
  PRUNELAB_RETURN_IF_ERROR(CreateFolders(output));
  TrainingBatches batches(train, dataset.normalization, AugmentationOf(training), training.batch_size(),
                          static_cast<uint64_t>(seed), at::kFloat, at::kCPU);
  for (int64_t epoch = 0; epoch < FLAGS_epochs; ++epoch) {
    std::vector<at::Tensor> images, labels;
    for (int64_t index = 0; index < batches.batches_per_epoch(); ++index) {
      PRUNELAB_ASSIGN_OR_RETURN(const Batch batch, batches.Get(epoch, index));
      images.push_back(batch.images.contiguous());
      labels.push_back(batch.labels);
    }
    Safetensors file;
    file.tensors["images"] = at::cat(images).contiguous();
    file.tensors["labels"] = at::cat(labels);
    file.metadata["batch_size"] = absl::StrCat(training.batch_size());
    const std::string path = JoinPath(output, absl::StrFormat("epoch_%04d.safetensors", epoch));
    PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(path, file));
    std::cout << path << ": " << train.size() << " images in batches of " << training.batch_size() << "\n";
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  return prunelab::RunMain("writes the batches of a run; see docs/tools.md", argc, argv,
                           [] { return prunelab::ExitStatus(prunelab::Export()); });
}
