// A run's data set and network, as far as its config tells them, and whether it can be trained on the data.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"
#include "ml/data/dataset.h"
#include "ml/network/network.h"

namespace prunelab {

// A data set's description of itself; no value if its data must be read for that and do not exist. Errors are field
// errors relative to RunConfig ("dataset...").
absl::StatusOr<std::optional<DatasetInfo>> DescribeRunDataset(const RunConfig& config);

// The network of a run on the data set (no value: unknown, then the family's own defaults apply), with its compactors.
// Field errors relative to RunConfig ("network...", "compactors..."): refused parameters, a network whose images or
// classes are not the data's.
absl::StatusOr<NetworkInfo> BuildRunNetwork(const RunConfig& config, const std::optional<DatasetInfo>& dataset);

// `network` with the compactors that the run asks for and that it has not, or as it is. Field errors ("compactors...",
// "training.quantization").
absl::StatusOr<NetworkInfo> WithCompactorsOf(const RunConfig& config, NetworkInfo network);

// Whether a run's training is possible with data of these sizes: batches no larger than the data, crop padding no
// larger than an image. Field errors relative to Training.
absl::Status CheckTrainingFitsData(const Training& training, const DatasetInfo& dataset);

// The same once the data are read, and how many images an epoch trains on. Also refuses a class that validation would
// leave empty, batches larger than what is left, and a last batch of one image that a batch norm of `network` cannot
// use.
absl::StatusOr<int64_t> CheckTrainingOnData(const Training& training, const NetworkInfo& network,
                                            const Dataset& dataset);

}  // namespace prunelab
