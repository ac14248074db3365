// What a run shows in TensorBoard, written while it trains: every number of epochs.jsonl as a scalar, the filters'
// importance by layer as histograms, and arm, levels and seed as hyperparameters.
//
//   PRUNELAB_ASSIGN_OR_RETURN(RunEvents events, RunEvents::Create(folder, arm, seed, epochs, 0));
//   PRUNELAB_RETURN_IF_ERROR(events.AddEpoch(record, trainer.model()));
//   PRUNELAB_RETURN_IF_ERROR(events.End("done"));
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/runs/tensorboard_writer.h"
#include "ml/execution/model.h"
#include "ml/training/epoch_record.h"

namespace prunelab {

class RunEvents {
 public:
  // `epochs`: of the whole run; histograms are written at about twenty of them. `first_epoch`: the first to be added
  // (not 0 if a run is resumed).
  static absl::StatusOr<RunEvents> Create(const std::string& folder, const std::string& arm, int64_t seed,
                                          int64_t epochs, int64_t first_epoch);
  // Tags are the keys of epochs.jsonl; live_filters/<layer>; importance/<layer>: mean |w| of each filter, unmasked.
  absl::Status AddEpoch(const EpochRecord& record, const Model& model);
  // `status` as in result.json.
  absl::Status End(const std::string& status);

 private:
  RunEvents(TensorboardWriter writer, int64_t epochs) : writer_(std::move(writer)), epochs_(epochs) {}
  TensorboardWriter writer_;
  int64_t epochs_;
};

}  // namespace prunelab
