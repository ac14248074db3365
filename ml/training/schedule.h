// The learning rate at every step of training: PyTorch's StepLR, MultiStepLR and CosineAnnealingLR (stepped once per
// epoch), with a linear warm-up over the first steps.
#pragma once

#include <cstdint>

#include "ml/training/training.pb.h"

namespace prunelab {

// That of the config's optimizer, at which the schedule starts.
double BaseLearningRate(const Training& training);
void SetBaseLearningRate(double learning_rate, Training& training);

// The learning rate of step `iteration` of `epoch`, both from 0, for a valid `training` (see ValidateTraining). With
// base rate b, e the epoch and E all epochs:
//   constant    b
//   step        b * gamma^floor(e / period)
//   multi_step  b * gamma^(number of milestones <= e)
//   cosine      f + (b - f) * (1 + cos(pi e / E)) / 2,  f the final learning rate
// times min(1, (e * iterations_per_epoch + iteration + 1) / (warmup_epochs * iterations_per_epoch)).
double LearningRate(const Training& training, int64_t epoch, int64_t iteration, int64_t iterations_per_epoch);

}  // namespace prunelab
