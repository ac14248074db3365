#include "experiments/config/run_network.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/data/validation_split.h"
#include "ml/models/dataset_defaults.h"
#include "ml/models/model_builder.h"
#include "ml/network/compactors.h"
#include "ml/network/value_grids.h"
#include "ml/onnx/checkpoint_file.h"
#include "ml/pruning/layers.h"
#include "ml/training/augmentation.h"
#include "ml/training/training_config.h"

namespace prunelab {
namespace {

std::string ImageText(int64_t channels, int64_t height, int64_t width) {
  return absl::StrCat(channels, "x", height, "x", width);
}

// The network in a file of weights.
absl::StatusOr<Network> StoredNetwork(const std::string& path) {
  const absl::StatusOr<std::map<std::string, std::string>> metadata = CheckpointMetadata(UserPath(path));
  if (absl::IsNotFound(metadata.status())) return NoSuchFile(path);
  PRUNELAB_RETURN_IF_ERROR(metadata.status());
  const auto text = metadata->find("network");
  Network network;
  if (text == metadata->end() || !google::protobuf::TextFormat::ParseFromString(text->second, &network)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": carries no network; say with `network` which one its weights belong to"));
  }
  return network;
}

// OK if the network takes the data set's images and tells its classes apart. `stored`: it is that of a file of weights.
absl::Status CheckNetworkFitsData(const NetworkInfo& network, const DatasetInfo& dataset, bool stored) {
  const NodeShape& images = network.input_shape();
  if (images.channels != dataset.channels || images.height != dataset.height || images.width != dataset.width) {
    return FieldError(
        "network", absl::StrCat("takes images of ", ImageText(images.channels, images.height, images.width),
                                ", but the data set's are ", ImageText(dataset.channels, dataset.height, dataset.width),
                                " (channels, height, width); leave the network's sizes unset to take the data's"));
  }
  if (const absl::Status logits = network.CheckLogits(); !logits.ok()) {
    return FieldError(stored ? "initial_weights" : "network", logits.message());
  }
  if (network.classes() == dataset.classes) return absl::OkStatus();
  if (stored) {
    return FieldError(
        "initial_weights",
        absl::StrCat("its network has ", network.classes(), " classes, but the data set has ", dataset.classes,
                     "; set `network`, which then takes the data's, and start its last layer afresh by fresh_weights"));
  }
  return FieldError("network", absl::StrCat("has ", network.classes(), " classes, but the data set has ",
                                            dataset.classes, "; leave the network's classes unset to take the data's"));
}

}  // namespace

absl::StatusOr<std::optional<DatasetInfo>> DescribeRunDataset(const RunConfig& config) {
  PRUNELAB_RETURN_IF_ERROR(InField("dataset", Datasets().CheckLinked(config.dataset())));
  const absl::StatusOr<DatasetInfo> info = DescribeDataset(config.dataset());
  if (info.ok()) return *info;
  if (absl::IsNotFound(info.status())) return std::nullopt;
  return InField("dataset", info.status());
}

absl::StatusOr<NetworkInfo> WithCompactorsOf(const RunConfig& config, NetworkInfo network) {
  if (config.training().has_quantization() && (config.has_compactors() || HasCompactors(network))) {
    return FieldError("training.quantization",
                      "does not go with compactors, which are merged only after the training; quantize what a run with "
                      "compression has left of them");
  }
  if (!config.has_compactors()) return network;
  const absl::StatusOr<std::set<std::string>> chosen = ChosenLayers(config.compactors().layers(), network);
  if (!chosen.ok()) return InField("compactors", chosen.status());
  std::vector<std::string> convs;
  for (const std::string& conv : *chosen) {
    const Node& node = network.node(network.Index(conv));
    // Those of a run before stay as they are.
    const bool has_one = IsCompactor(node) || network.Index(CompactorOf(conv)) >= 0;
    if (node.conv2d().groups() == 1 && !has_one) convs.push_back(conv);
  }
  if (convs.empty() && HasCompactors(network)) return network;
  if (convs.empty()) return FieldError("compactors.layers", "chooses only convolutions with groups");
  absl::StatusOr<Network> with = WithCompactors(network, convs);
  if (!with.ok()) return FieldError("compactors", with.status().message());
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(*std::move(with));
  if (!info.ok()) return InField("compactors", info.status());
  return info;
}

absl::StatusOr<NetworkInfo> BuildRunNetwork(const RunConfig& config, const std::optional<DatasetInfo>& dataset) {
  const ImageDefaults defaults = dataset ? DefaultsOf(*dataset) : ImageDefaults();
  const bool stored = !config.has_network() && config.has_initial_weights();
  absl::StatusOr<Network> network =
      stored ? StoredNetwork(config.initial_weights()) : BuildNetwork(config.network(), defaults);
  if (!network.ok() && stored) return FieldError("initial_weights", network.status().message());
  if (!network.ok()) return InField("network", network.status());
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(*std::move(network));
  if (!info.ok()) return InField("network", info.status());
  if (IsQuantized(info->network())) {
    return FieldError(stored ? "initial_weights" : "network",
                      "its network is quantized, and training moves weights off their grids; train the network from "
                      "which //tools:quantize made it");
  }
  if (dataset) PRUNELAB_RETURN_IF_ERROR(CheckNetworkFitsData(*info, *dataset, stored));
  return WithCompactorsOf(config, *std::move(info));
}

absl::Status CheckTrainingFitsData(const Training& training, const DatasetInfo& dataset) {
  Training whole = training;  // as if nothing were set aside: only the data tell how much that is
  whole.clear_validation_fraction();
  PRUNELAB_RETURN_IF_ERROR(CheckBatchSize(whole, dataset.train_images));
  const int64_t size = std::min(dataset.height, dataset.width);
  if (training.random_crop_padding() > size) {
    return FieldError("random_crop_padding",
                      absl::StrCat("is ", training.random_crop_padding(), ", but the images are ", dataset.height, "x",
                                   dataset.width, "; must be at most ", size));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> CheckTrainingOnData(const Training& training, const NetworkInfo& network,
                                            const Dataset& dataset) {
  PRUNELAB_RETURN_IF_ERROR(CheckTrainingFitsData(training, dataset.info));
  PRUNELAB_RETURN_IF_ERROR(CheckAugmentation(training, dataset.train));
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t set_aside,
                            CountValidation(dataset.train, dataset.info.classes, training.validation_fraction()));
  const int64_t images = dataset.train.size() - set_aside;
  PRUNELAB_RETURN_IF_ERROR(CheckBatchSize(training, images));
  PRUNELAB_RETURN_IF_ERROR(CheckLastBatch(training, network, images));
  return images;
}

}  // namespace prunelab
