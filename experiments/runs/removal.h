// What a run does after its last epoch where its config has `compression`: dead filters are taken out, the smaller
// network is held against the masked one, trained on if asked for, and timed.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"
#include "experiments/records/records.h"
#include "ml/data/dataset.h"
#include "ml/execution/model.h"

namespace prunelab {

struct RemovalRequest {
  const RunConfig* config = nullptr;
  const Dataset* dataset = nullptr;
  int64_t seed = 0;
  double learning_rate = 0;    // of the last epoch: for fine-tuning
  std::function<bool()> stop;  // asked after each step of fine-tuning; may be empty
};

// The file with the smaller network in a run's folder, and that with the latencies: clocks stand in no compared file.
inline constexpr char kRemovedFile[] = "removed.safetensors", kLatencyFile[] = "latency.json";

// Writes removed.safetensors and latency.json into `folder` and fills in the removal's fields of `result`. Errors: the
// file system's; Cancelled when `stop` said so; Internal where exact removal changed a prediction that rounding does
// not explain (two best logits further apart than kRemovalTolerance); DataLoss where the removed network's logits, or
// fine-tuning, are not finite; what fine-tuning refuses.
absl::Status RemoveAfterTraining(const RemovalRequest& request, Model& trained, const std::string& folder,
                                 RunResult& result);

// The network that the run in `folder` ended with: that of removed.safetensors, or, where there is none, what exact
// removal makes of last.safetensors.
absl::StatusOr<NetworkInfo> RemovedShape(const std::string& folder);

}  // namespace prunelab
