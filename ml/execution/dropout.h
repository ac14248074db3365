// Dropout in a training step (the operator Dropout, network.proto). What a step keeps is drawn on the host before it,
// by counter-based streams (ml/base/random.h), and is an input of the step like its images. So it depends neither on
// the plan nor on the device, the model's type or the number of threads, a resumed training draws what an undisturbed
// one draws, and a captured step (recorder.h) reads new numbers each time that it is replayed.
//
//   StepDropout dropout(info, seed);
//   options.mode = Mode::kTrain;
//   options.kept = dropout.Draw(epoch, step, images);
//   plan.Forward(model, images, options);
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ml/network/network.h"

namespace prunelab {

// `x`, whose batch is the first dimension, where `kept`, of 0 and 1 and broadcast to x's shape, is 1, divided by
// 1 - probability; and 0 elsewhere. In x's type. Autograd differentiates through it.
at::Tensor ApplyDropout(const Dropout& dropout, const at::Tensor& x, const at::Tensor& kept);

}  // namespace prunelab
