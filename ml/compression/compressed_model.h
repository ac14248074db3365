// Removal as a step between two models (ml/execution/model.h).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/compression/compress.h"
#include "ml/execution/model.h"

namespace prunelab {

// The model's network and values, with masks applied. Error: a value that is not finite.
absl::StatusOr<WeightedNetwork> ToWeightedNetwork(const Model& model);

// A model of a network on `device`, in the dtype of its weights.
Model ToModel(const WeightedNetwork& network, at::Device device);

// The same for inference: BN folded into the convolutions before it.
Model ToInferenceModel(WeightedNetwork network, at::Device device);

struct CompressedModel {
  Model model;
  std::vector<PassSaving> savings;
};

// A smaller model without masks that computes the same in eval mode.
absl::StatusOr<CompressedModel> CompressModel(const Model& model, const CompressionOptions& options);

// The size of the network that exact removal leaves, as the passes leave it.
struct RemovedSize {
  int64_t parameters = 0;  // weights, biases, BN's scales and shifts, stored constants
  int64_t macs = 0;        // multiply-accumulates of convolutions and linear layers, one image
};

// Values that are not finite, which a diverged training has, count as live.
RemovedSize SizeAfterRemoval(const Model& model);

}  // namespace prunelab
