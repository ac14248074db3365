// The interface of a pruning strategy: a class that, asked before each training step and after each epoch, may return
// new masks.
//
// A strategy sees layers as {node, dense weight, mask, last gradient}: plain LibTorch tensors. One that needs more is
// given a NetworkProbe. It changes nothing itself: its MaskUpdate is applied by ml/execution/mask_updates.h. See
// docs/adding_a_strategy.md.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/message.h"
#include "ml/base/plugin.h"
#include "ml/network/mask_update.h"
#include "ml/network/masks.h"
#include "ml/network/network.h"
#include "ml/network/network_probe.h"

namespace prunelab {

// The BatchNorm that alone reads a convolution (readers.h: OwnBatchNorm), as a strategy sees it after a backward pass:
// scale, shift and their gradients of the loss alone, each [out]. Detached views of the model's own: read only, and
// only during the call.
struct PrunableBatchNorm {
  at::Tensor scale, shift;
  at::Tensor scale_gradient, shift_gradient;
};

// A convolution as a strategy sees it. Tensors are detached views of the model's own: read only.
struct PrunableLayer {
  std::string node;
  at::Tensor weight;  // dense, [out, in / groups, kh, kw]
  at::Tensor mask;    // in force: [out, 1, 1, 1] (filters) or the weight's shape; never undefined (ones at first)
  // The gradient of the loss alone, from the last step; undefined before the first step and if it was not requested. It
  // is that of the dense weight at the masked point: dL/d(weight * mask), passed straight through, so that masked
  // weights have one, too, whatever gradient_policy() lets them learn from it.
  at::Tensor gradient;
  // Of a convolution with a BatchNorm of its own, in Observe, if the strategy needs_batch_norms(); else nothing.
  std::optional<PrunableBatchNorm> batch_norm = std::nullopt;
};

// The layer's mask by filter, [out, 1, 1, 1], whatever its kind: off where none of the filter's weights is on. A
// strategy that masks filters may find weight masks in force, of a phase before or of the weights that training starts
// from.
at::Tensor MaskByFilter(const PrunableLayer& layer);

// A number of epochs that records when it is read. A strategy that reads how long a run is may act differently in a
// longer one, so a run of such a strategy cannot be trained further than planned.
class TotalEpochs {
 public:
  // `read`, where given, becomes true with the first reading; it outlives this object and its copies.
  TotalEpochs(int64_t epochs = 1, bool* read = nullptr) : epochs_(epochs), read_(read) {}
  operator int64_t() const {
    if (read_ != nullptr) *read_ = true;
    return epochs_;
  }
  // Whether they are `epochs`; read only if they are. An answer of false would be the same in every longer run.
  bool Are(int64_t epochs) const { return epochs == epochs_ && epochs == int64_t{*this}; }

 private:
  int64_t epochs_;
  bool* read_;
};

// Where in training the step to come is. All count from 0.
struct StepPosition {
  int64_t epoch = 0;
  int64_t iteration = 0;  // within the epoch
  int64_t iterations_per_epoch = 1;
  TotalEpochs epochs = 1;  // of the whole run, or of its phase; read it only where it decides something
  int64_t step() const { return epoch * iterations_per_epoch + iteration; }
  bool in_last_epoch() const { return epochs.Are(epoch + 1); }
};

// What becomes of the straight-through gradient of a masked filter before the filter learns from it. A masked filter's
// output is 0 and so is its variance, so a BatchNorm after it divides the gradient by the root of epsilon: by hundreds
// of times less than for a live filter (ml/execution/conv_unit.h).
struct DeadGradient {
  double scale = 1;  // it is multiplied by this,
  // and, where a BatchNorm is the convolution's only consumer, by sqrt(epsilon) / sigma: then it is what it would be if
  // BatchNorm divided by sigma, the root of epsilon and the mean running variance of the layer's live filters.
  bool as_live = false;

  bool changes() const { return scale != 1 || as_live; }
};

// What a strategy must remember across a restart.
struct StrategyState {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> values;
};

class PruningStrategy {
 public:
  virtual ~PruningStrategy() = default;

  virtual Granularity granularity() const = 0;
  virtual GradientPolicy gradient_policy() const = 0;

  // With kStraightThrough: what masked filters, and weights, learn of their gradients.
  virtual DeadGradient dead_gradient() const { return {}; }

  // By convolution, [out, 1, 1, 1]: 0 for filters that compute on but learn nothing from the loss, which leaves them to
  // penalties and weight decay, else 1. What a penalty on activations says of weights counts as the loss's. Read after
  // Observe. Once a tensor is here, it stays, and its values alone change: a captured step reads its memory.
  virtual const std::map<std::string, at::Tensor>& learns_from_loss() const {
    static const auto& none = *new std::map<std::string, at::Tensor>();
    return none;
  }

  // Whether what is off is meant to come on again: the strategy chooses again among all, whatever masks are in force.
  // Else what was masked before its training, in a phase before or in the weights that training starts from, stays
  // masked, whatever masks it asks for (ml/execution/start_masks.h).
  virtual bool regrows() const { return false; }

  // Whether PrunableLayer::gradient is read; then the loop keeps the last gradients and checkpoints them.
  virtual bool needs_gradients() const { return false; }

  // Whether Observe reads PrunableLayer::batch_norm; only of a strategy that needs_gradients(), too.
  virtual bool needs_batch_norms() const { return false; }

  // Whether the strategy looks at training images, at activations, or at tensors that are no convolution's weight. Then
  // Attach is called once, before the first Update or LoadState; the probe stays for as long as Update is called.
  virtual bool needs_probe() const { return false; }
  virtual void Attach(const NetworkProbe& probe) {}

  // Called before the forward pass of every step with all convolutions in the network's order, selected or not. No
  // value: nothing changes. Must be a function of its arguments and the strategy's state.
  virtual absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                           const std::vector<PrunableLayer>& layers) = 0;

  // Called after the backward pass of every step, before the optimizer, with the loss's gradients.
  virtual void Observe(const StepPosition& position, const std::vector<PrunableLayer>& layers) {}

  // Called after an epoch's last step, before the epoch is evaluated, with that step's position; otherwise as Update.
  // So what is evaluated and counted may be another network than the one that trains on: soft filter pruning masks here
  // and frees all filters at the next epoch's first Update.
  virtual absl::StatusOr<std::optional<MaskUpdate>> EndEpoch(const StepPosition& position,
                                                             const std::vector<PrunableLayer>& layers) {
    return std::nullopt;
  }

  virtual StrategyState SaveState() const { return {}; }
  virtual absl::Status LoadState(const StrategyState& state) { return absl::OkStatus(); }
};

// What a strategy may know when it is made.
struct PruningSetup {
  const NetworkInfo* network = nullptr;  // outlives the call only
  uint64_t seed = 0;                     // of the run
  // The first step will be made with fresh weights (model.h: InitializeParameters): a strategy that cannot rank those
  // is refused. False if the weights are trained ones, or if it is not known.
  bool fresh_weights = false;
};

using PruningStrategyFactory = std::function<absl::StatusOr<std::unique_ptr<PruningStrategy>>(
    const google::protobuf::Message& parameters, const PruningSetup& setup)>;

// The linked strategies.
PluginRegistry<PruningStrategyFactory>& PruningStrategies();

// Makes the strategy that `parameters` name. Errors: not linked, not a strategy, parameters refused (a field error).
absl::StatusOr<std::unique_ptr<PruningStrategy>> CreatePruningStrategy(const google::protobuf::Any& parameters,
                                                                       const PruningSetup& setup);

// The same of the message itself, e.g. CreatePruningStrategy(Static(), setup).
absl::StatusOr<std::unique_ptr<PruningStrategy>> CreatePruningStrategy(const google::protobuf::Message& parameters,
                                                                       const PruningSetup& setup);

// Makes a strategy known, from its .cc file: const bool registered = RegisterPruningStrategy(&CreateStatic);
template <typename Parameters>
bool RegisterPruningStrategy(absl::StatusOr<std::unique_ptr<PruningStrategy>> (*create)(const Parameters&,
                                                                                        const PruningSetup&)) {
  PruningStrategies().Register(Parameters::descriptor(),
                               [create](const google::protobuf::Message& parameters, const PruningSetup& setup) {
                                 return create(static_cast<const Parameters&>(parameters), setup);
                               });
  return true;
}

}  // namespace prunelab
