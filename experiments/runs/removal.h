// What a run does after its last epoch if its config has `compression`: dead filters are removed, and the smaller
// network is compared with the masked one, fine-tuned if requested, and timed.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"
#include "experiments/records/records.h"
#include "ml/compression/weighted_network.h"
#include "ml/data/dataset.h"
#include "ml/execution/model.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

struct RemovalRequest {
  const RunConfig* config = nullptr;
  const Dataset* dataset = nullptr;
  int64_t seed = 0;
  std::optional<Model> teacher;                        // that fine-tuning learns from, where the run does
  double learning_rate = 0;                            // of the last epoch: for fine-tuning
  std::function<bool()> stop;                          // called after each step of fine-tuning; may be empty
  std::function<void(const std::string&)> on_warning;  // as TrainingSetup has it
};

// What a ranking that looks at images sees: those that the training of `training` trains on.
struct RemovalImages {
  const Dataset* dataset = nullptr;
  const Training* training = nullptr;
};

// Takes out of the network what `compression` says; RANDOM, and which images a ranking sees, are drawn by the seed.
// Field errors: of the target, if no rate meets it; of groups, what RankedGroups refuses.
absl::Status RemoveAsSaid(const Compression& compression, const RemovalImages& data, int64_t seed,
                          WeightedNetwork& network);

// What a run with `start_from` starts from, by the run in `folder`: the tensors that it ended with, and its network in
// the metadata, after the removal that start_from may ask for. Errors: RemoveAsSaid's; the file system's.
absl::StatusOr<Safetensors> StartOf(const StartFrom& start, const RemovalImages& data, int64_t seed,
                                    const std::string& folder);

// The files in a run's folder with the smaller network, and with the latencies, which must not be in a compared file.
inline constexpr char kRemovedFile[] = "removed.safetensors", kLatencyFile[] = "latency.json";

// Writes removed.safetensors and latency.json to `folder` and fills in the removal's fields of `result`. Errors: the
// file system's; OutOfRange if no rate meets the target; Cancelled if `stop` returned true; Internal if exact removal
// changed a prediction that rounding does not explain (two best logits further apart than kRemovalTolerance); DataLoss
// if the removed network's logits, or fine-tuning, are not finite; what fine-tuning refuses.
absl::Status RemoveAfterTraining(const RemovalRequest& request, Model& trained, const std::string& folder,
                                 RunResult& result);

// The network that the run in `folder` ended with: removed.safetensors or, if there is none, the result of exact
// removal from last.safetensors.
absl::StatusOr<NetworkInfo> RemovedShape(const std::string& folder);

}  // namespace prunelab
