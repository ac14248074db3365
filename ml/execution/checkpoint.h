// A checkpoint of a model: one .safetensors file with parameters and buffers under their PyTorch names, masks as
// "<conv>.mask" (float32 0 and 1 in the weight's shape), and the network as text proto under the metadata key
// "network", so that it can always be loaded.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/execution/model.h"
#include "ml/execution/safetensors.h"

namespace prunelab {

Safetensors ModelToSafetensors(const Model& model);

// Whether the file's tensors are those of the network: all differences of names and shapes are listed in one error.
// "num_batches_tracked" may be missing; masks may have the weight's shape or [out, 1, 1, 1], and hold 0 and 1.
absl::Status CheckFits(const Safetensors& file, const std::string& name, const NetworkInfo& info);

// Copies weights, buffers and masks into `model`. Where CheckFits refuses the file nothing is changed. A mask that is
// the same within each filter becomes a filter mask.
absl::Status LoadIntoModel(const Safetensors& file, const std::string& name, Model& model);

// A model from a file that carries its network. Errors: no network in it, or one that is refused; as LoadIntoModel.
absl::StatusOr<Model> LoadModel(const std::string& path, at::ScalarType dtype, at::Device device);

}  // namespace prunelab
