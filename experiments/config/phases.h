// The phases of a run: stretches of training with their own settings (Phase in ablation.proto).
//
//   for (const RunPhase& phase : PhasesOf(config)) Train(phase.training, phase.pruning, ...);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "experiments/config/ablation.pb.h"

namespace prunelab {

// A phase in which everything that it takes over from the run is filled in.
struct RunPhase {
  std::string name;         // "" if the run has no phases
  int64_t first_epoch = 0;  // of the run
  Training training;        // epochs are the phase's own
  google::protobuf::Any pruning;
  Regularization regularization;
  std::optional<int64_t> rewind_to_epoch;
};

// In order, never empty: a run without phases has one. `config` is an Arm's, or one that went through FillInPhases.
std::vector<RunPhase> PhasesOf(const RunConfig& config);

// Whether the strategy is meant to mask something: it is not NoPruning, and its rate is not set to 0.
bool IsToMask(const google::protobuf::Any& pruning);

// Fills in what a run's or a phase's penalty leaves unset: no regularizer, and weight 0 without one.
void FillInRegularization(Regularization* regularization);

// Fills in what phases leave unset (no regularizer, weight 0 without one, a constant schedule), and sets
// training.epochs to their sum if it is unset. What CheckPhases refuses is not changed.
void FillInPhases(RunConfig* config);

// Errors of the phases themselves, by field relative to RunConfig: names, epochs and their sum, where to rewind to, a
// penalty's weight without a penalty. What their training, strategies and penalties refuse is not known here.
std::vector<absl::Status> CheckPhases(const RunConfig& config);

}  // namespace prunelab
