// A training step that is captured once and replayed (ml/execution/recorder.h), so that a GPU does not wait for the
// host to ask for each of its kernels.
//
//   StepCapture capture(recorder, model, {differentiate, learn}, warn);
//   StepTensors* const step = capture.Differentiate({batch, kept}, kind);
//   strategy.Observe(...);                                 // reads step->gradients
//   capture.Learn();
//
// A step has two halves, and what is between them, the strategy's observation, runs on the host. The first half may run
// several times, on a batch each; then what they left is added up between the halves (step_sum.h), in the tensors that
// the second one reads. The first steps of a
// kind run as they are, because libraries set themselves up in them; then both halves are captured. A step of another
// kind, or one with masks or inputs of other shapes, begins again. What is captured reads the same memory each time:
// masks and inputs are copied to where it reads them. If a step cannot be captured, for example because a
// regularizer waits for the device, that is warned of once, and this step and all later ones run as they are.
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
#include "ml/data/batches.h"
#include "ml/execution/model.h"
#include "ml/execution/recorder.h"
#include "ml/network/masks.h"
#include "ml/training/penalty.h"

namespace prunelab {

// What changes from step to step, on the model's device.
struct StepInputs {
  Batch batch;
  std::map<std::string, at::Tensor> kept;  // by dropout nodes (ml/execution/dropout.h), by node
  int64_t all_images = 0;                  // of the batch, of which another process may have a share
};

// What a step's first half, which differentiates, leaves to its second, which learns.
struct StepTensors {
  at::Tensor loss;                    // the batch's mean
  std::vector<at::Tensor> gradients;  // of the loss, by parameter
  ActivationPenalty activations;
};

// What besides shapes makes a step do something else.
struct StepKind {
  GradientPolicy policy = GradientPolicy::kStraightThrough;
  bool needs_gradients = false;  // the loss's alone
  bool operator==(const StepKind& other) const {
    return policy == other.policy && needs_gradients == other.needs_gradients;
  }
};

// The halves of a step. Neither may wait for the device.
struct StepHalves {
  std::function<void(Model& model, const StepInputs& inputs, StepTensors& step)> differentiate;
  std::function<void(const Model& model, StepTensors& step)> learn;
};

class StepCapture {
 public:
  // `model`, which is trained, outlives this object, as does whatever else the halves read. `warn` may be empty.
  StepCapture(std::unique_ptr<Recorder> recorder, Model& model, StepHalves halves,
              std::function<void(const std::string&)> warn);

  // The first half of a step on `inputs`. The result is valid until the next call, and may be changed until Learn:
  // where replays() says so, by writing over its tensors.
  StepTensors* Differentiate(const StepInputs& inputs, const StepKind& kind);
  // The second half.
  void Learn();

  // Whether the current step is replayed: then the next one overwrites its tensors.
  bool replays() const { return captured_.has_value(); }

 private:
  // Steps, all alike, after which libraries have set themselves up for what is captured, on its stream.
  static constexpr int64_t kWarmUpSteps = 3;

  // What was captured, and what it reads.
  struct CapturedStep {
    explicit CapturedStep(const Model& model) : model(model) {}
    Model model;  // the one given, but with masks of its own, whose values change and whose places do not
    std::map<std::string, at::Tensor> masks;  // of the model given, whose values these took last
    StepInputs inputs;
    StepKind kind;
    StepTensors tensors;
    std::unique_ptr<Recording> differentiate, learn;
  };

  bool Fits(const StepInputs& inputs, const StepKind& kind) const;
  // Whether the next step runs as it is: to set libraries up, or because a step could not be captured.
  bool RunsAsItIs() const { return gave_up_ || warm_up_steps_ < kWarmUpSteps; }
  absl::Status Capture(const StepInputs& inputs, const StepKind& kind);
  // Never to capture again.
  void GiveUp(const absl::Status& why);
  // Puts the masks in force, and the inputs, where the captured step reads them.
  void CopyInputs(const StepInputs& inputs);

  const std::unique_ptr<Recorder> recorder_;
  Model& model_;
  const StepHalves halves_;
  const std::function<void(const std::string&)> warn_;
  bool gave_up_ = false;
  int64_t warm_up_steps_ = 0;  // done
  StepTensors warm_up_;        // of the current step, if it is not replayed
  std::optional<CapturedStep> captured_;
};

}  // namespace prunelab
