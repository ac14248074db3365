// Trained quantization (Han, Mao and Dally, ICLR 2016, section 3.3): after weights were shared, the values of the
// codebooks are trained further, while every weight stays in its group.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const std::vector<double> losses,
//                             FineTuneCodebooks(model, layers, dataset.train, dataset.normalization, {}));
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/data/dataset.h"
#include "ml/deep_compression/weight_sharing.h"
#include "ml/execution/model.h"

namespace prunelab {

struct FineTuneOptions {
  int64_t epochs = 1;
  int64_t batch_size = 64;
  double learning_rate = 1e-3;  // of stochastic gradient descent; it stays the same
  double momentum = 0.9;
  uint64_t seed = 1;  // of the order of the images
};

// Trains the codebooks of `layers` (by the names of weights of `model`) on the mean cross-entropy of shuffled batches,
// and leaves the new values in the model's weights. The gradient of a value is the sum over its weights
// (CentroidGradients). Nothing else changes: biases, norms and their statistics stay as they are, norms compute as in
// evaluation, images are not augmented. Values are kept in float64 between the steps, so small steps are not lost.
//
// Returns the mean loss of each epoch. Errors: DataLoss if a loss is not finite. Repeats bit for bit on one type of
// CPU. `model` is float32 on the CPU, and the layers' indices have the shapes of its weights (checked).
absl::StatusOr<std::vector<double>> FineTuneCodebooks(Model& model, const std::map<std::string, SharedWeights>& layers,
                                                      const LabelledImages& train, const Normalization& normalization,
                                                      const FineTuneOptions& options);

}  // namespace prunelab
