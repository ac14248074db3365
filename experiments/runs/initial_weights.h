// The weights that a run starts from, where its config names a file of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"
#include "ml/execution/checkpoint.h"
#include "ml/network/network.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

// What `config.initial_weights` names; no value and "" if it names nothing.
struct InitialWeights {
  std::optional<Safetensors> tensors;  // as they are in the file
  std::string digest;                  // as in WeightsFile, and so are the notes
  std::vector<std::string> notes;
};

// A file that a config names: its tensors, with the network in the metadata if it has one.
struct WeightsFile {
  Safetensors file;
  std::string digest;              // SHA-256 of the file; of an ONNX file, of the tensors that it becomes
  std::vector<std::string> notes;  // what the user should know of an import
};

// Errors: as ReadInitialWeights.
absl::StatusOr<WeightsFile> ReadWeightsFile(const std::string& path);

// Errors: the file cannot be read, or is neither a safetensors nor an ONNX file; NotFound if it does not exist.
absl::StatusOr<InitialWeights> ReadInitialWeights(const RunConfig& config);

// The part of the file that the config uses for the network: everything that is not initialized freshly. Errors:
// TakeWeights'.
absl::StatusOr<Weights> TakeInitialWeights(const RunConfig& config, const Safetensors& file,
                                           const NetworkInfo& network);

// All weights that the run starts from: the file's tensors, and for those that start afresh what they are in a run of
// the same seed without a file. Errors: TakeWeights'.
absl::StatusOr<Safetensors> StartingWeights(const RunConfig& config, int64_t seed, const Safetensors& file,
                                            const NetworkInfo& network);

}  // namespace prunelab
