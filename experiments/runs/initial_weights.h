// The weights that a run starts from, where its config names a file of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"
#include "ml/execution/checkpoint.h"
#include "ml/network/network.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

// What `config.initial_weights` names; nothing and "" where it names none.
struct InitialWeights {
  std::optional<Safetensors> tensors;  // as the file has them
  std::string digest;                  // SHA-256 of the file
};

// Errors: the file cannot be read, or is no safetensors file; NotFound if it is not there.
absl::StatusOr<InitialWeights> ReadInitialWeights(const RunConfig& config);

// What of the file the config takes for the network, which is all but what it starts afresh. Errors: TakeWeights'.
absl::StatusOr<Weights> TakeInitialWeights(const RunConfig& config, const Safetensors& file,
                                           const NetworkInfo& network);

// All weights that the run starts from: the file's tensors, and for those that start afresh what they are in a run of
// the same seed without a file. Errors: TakeWeights'.
absl::StatusOr<Safetensors> StartingWeights(const RunConfig& config, int64_t seed, const Safetensors& file,
                                            const NetworkInfo& network);

}  // namespace prunelab
