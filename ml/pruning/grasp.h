// GraSP: Wang, Zhang and Grosse 2020, "Picking Winning Tickets Before Training by Preserving Gradient Flow" (ICLR).
// Before training, each weight w gets the score -w (H g), H the Hessian and g the gradient of the loss: what removing
// the weight adds, to first order and up to a factor of 2, to the gradient's squared norm. Its sign convention: weights
// with the LARGEST scores are masked, those with the smallest kept. Logits are divided by a temperature of 200.
//
// As in the original code: batch norm runs by the batch's statistics; g and H are those of all convolutions' and linear
// layers' weights together; the images, as many of each class, are halved, g is the sum of the halves' gradients (of
// mean losses), and H g that of the halves' products with this g.
//
// Differences. Only convolutions are masked; the original masks linear layers too, and draws the last one anew
// (Xavier) before scoring. Its halves hold different classes (images stand in the order of their classes); here each
// half has every class. At rate r of n, int(n r) + 1 are masked (ranking.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/pruning/grasp.pb.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

// Two halves of `images_per_class` images of each class (or all it has), the first of the probe's order, interleaved by
// class.
absl::StatusOr<std::vector<ProbeBatch>> GraspBatches(const NetworkProbe& probe, int64_t images_per_class);

// -w (H g) of each of `layers`, in the weight's shape and dtype. `layers` are all of the network's.
std::map<std::string, at::Tensor> GraspScores(const NetworkProbe& probe, const std::vector<PrunableLayer>& layers,
                                              const std::vector<ProbeBatch>& batches, double temperature);

// Refuses images_per_class of which a half has no image, or a single one where a batch norm has maps of one pixel.
absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateGrasp(const Grasp& parameters, const PruningSetup& setup);

}  // namespace prunelab
