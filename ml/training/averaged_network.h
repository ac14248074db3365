// The exponential moving average of a network's weights over the steps of its training, as a network.
//
//   AveragedNetwork average(model, /*decay=*/0.9999);
//   average.AddStep();                       // after each step of the optimizer
//   average.Update();                        // before the averaged network is used
//   Evaluate(average.network(), ...);
//
// As torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn(decay): after the first step the averages are the
// parameters, after each later one decay * average + (1 - decay) * parameter. Buffers, which are BatchNorm's running
// statistics and averages themselves, are copied (use_buffers=False).
//
// The parameters are averaged as they are in the model, dense. The averaged network has the masks that are in force,
// and its masked weights are exactly zero.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "ml/execution/model.h"

namespace prunelab {

class AveragedNetwork {
 public:
  // Of `model`, which outlives this object.
  AveragedNetwork(const Model& model, double decay);

  // Takes in the model's parameters after a step. Waits for no device.
  void AddStep();

  // By parameter, in the model's order. They mean something once a step was taken in; to be restored with started().
  const std::vector<at::Tensor>& averages() const { return averages_; }
  bool started() const { return started_; }
  void set_started(bool started) { started_ = started; }

  // Makes network() what it is now: the averages (before the first step the model's weights), with the buffers and
  // masks of the model.
  void Update();
  // As of the last Update. Its buffers may be changed, and are until then.
  Model& network() { return network_; }

 private:
  const Model& model_;
  const double decay_;
  bool started_ = false;
  std::vector<at::Tensor> parameters_, averages_;  // detached
  Model network_;
};

}  // namespace prunelab
