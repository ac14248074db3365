// The training loop. A step, in this order: the strategy may change the masks; forward with masked weights; loss;
// backward, gradients by the strategy's policy; the regularizer's gradient added; SGD. After an epoch's last step the
// strategy may change the masks again; then the epoch is evaluated.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer, Trainer::Create(std::move(setup)));
//   while (trainer->epoch() < epochs) {
//     PRUNELAB_ASSIGN_OR_RETURN(const EpochRecord record, trainer->RunEpoch());
//     if (record.diverged) break;
//   }
//
// Training can be left after any step and taken up again by another process (SaveState, LoadState): what follows is
// bit-identical to what an undisturbed run computes, at the same number of threads on the same kind of CPU.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/data/batches.h"
#include "ml/data/dataset.h"
#include "ml/data/validation_split.h"
#include "ml/execution/model_probe.h"
#include "ml/execution/plan.h"
#include "ml/execution/recorder.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/regularizers/regularizer.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/epoch_record.h"
#include "ml/training/sgd.h"
#include "ml/training/start_masks.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// Where a person's patience is told how far an epoch is.
struct StepProgress {
  int64_t epoch = 0;      // of the run
  int64_t iteration = 0;  // just done
  int64_t iterations_per_epoch = 0;
  int64_t images = 0;  // of the epoch so far
};

struct TrainingSetup {
  NetworkInfo network;
  const Dataset* dataset = nullptr;  // outlives the trainer
  Training config;
  std::unique_ptr<PruningStrategy> strategy;
  std::unique_ptr<Regularizer> regularizer;
  double penalty_weight = 0;
  uint64_t seed = 0;
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  // Weights, buffers and masks to start from instead of fresh ones, under PyTorch's names. Weights that are masked
  // become zero, and stay masked but where the strategy is made to let them return (start_masks.h).
  std::optional<Safetensors> initial_weights;
  std::string initial_weights_name;  // stands for them in errors
  // Of a run that is trained in several stretches, each by a trainer of its own: this one's place in it, and what the
  // one before left (weights, buffers and masks, all of the network's own; masks as in
  // initial_weights).
  int64_t first_epoch = 0;
  std::optional<Safetensors> continued_from;
  // Weights and buffers to which the network goes back after the strategy's first update, or, instead, those of the
  // run's start; masks stay.
  std::optional<Safetensors> rewind_to;
  bool rewind_to_start = false;
  std::function<void(const StepProgress&)> on_step;  // after each step; may be empty; SaveState may be called
  std::function<bool()> stop;  // asked after each step, may be empty: true ends the training there
  // Records steps, so that they are replayed instead of asked for kernel by kernel. Null: by CUDA graphs on a GPU,
  // where the config does not say otherwise, and not at all on the CPU.
  std::unique_ptr<Recorder> recorder;
};

// The plan by which the steps of such a training run: "skipping", "fused" or "reference".
std::string StepPlanName(const Training& config, at::Device device);

class Trainer {
 public:
  // Initial weights come from the seed, or from `setup.initial_weights`. Errors: those that do not fit the network; a
  // precision that the device would emulate; validation data that leave a class nothing to train on; a last batch of
  // one image before a batch norm of one pixel.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(TrainingSetup setup);

  // Trains to the end of epoch() and evaluates. Errors: what the strategy refuses; Cancelled when `setup.stop` said so,
  // and then the next call, here or after LoadState elsewhere, goes on with the next step.
  absl::StatusOr<EpochRecord> RunEpoch();

  // The epoch that RunEpoch trains next, counted from TrainingSetup::first_epoch, and how many of its steps are done.
  int64_t epoch() const { return epoch_; }
  int64_t iteration() const { return iteration_; }
  int64_t images() const { return sums_.images; }  // that these steps trained on

  // All that decides how training goes on: weights, buffers, masks, momentum, the strategy's state, the last gradients
  // where it needs them, the place in the epoch and its sums so far. Between steps, as in on_step.
  Safetensors SaveState() const;
  // Takes training up where `state` left it. `name` stands for it in errors: a state of another network or strategy, or
  // one that lacks something; then this object must not be used any more.
  absl::Status LoadState(const Safetensors& state, const std::string& name);

  // What a saved state tells by itself: the epoch and the step that come next, and whether the strategy has read by
  // then how many epochs there are (also where the state does not say, as one of an older program). No value: it is no
  // state.
  struct SavedPlace {
    int64_t epoch = 0, iteration = 0;
    bool total_epochs_read = true;
  };
  static std::optional<SavedPlace> PlaceOf(const Safetensors& state);

  // ForwardResult::executed_macs of the last step; 0 before it.
  int64_t executed_macs() const { return executed_macs_; }

  const Model& model() const { return model_; }
  Model& model() { return model_; }
  int64_t iterations_per_epoch() const { return batches_.batches_per_epoch(); }
  int64_t train_images() const { return train().size(); }  // an epoch's

 private:
  // Sums over an epoch, on the device, so that nothing waits for it before the epoch's end. Always the same tensors.
  struct EpochSums {
    at::Tensor loss, correct;  // over images
    at::Tensor mask_changes;   // over mask updates: entries that changed, and of these that came back
    int64_t images = 0;
    explicit EpochSums(at::Device device);
    void Reset();
  };

  // A regularizer's term on activations, without its weight.
  struct ActivationPenalty {
    at::Tensor value;                   // undefined where there is none
    std::vector<at::Tensor> gradients;  // by parameter, undefined means zero; empty: in the loss's gradients already
  };

  // What a step's first half, which differentiates, leaves to its second, which learns; in between the strategy
  // observes.
  struct StepTensors {
    at::Tensor loss;                    // the batch's mean
    std::vector<at::Tensor> gradients;  // of the loss, by parameter
    ActivationPenalty activations;
  };

  // A recorded step, and what it reads.
  struct RecordedStep {
    explicit RecordedStep(const Model& model) : model(model) {}
    Model model;  // the trainer's, but with masks of its own, whose values change and whose places do not
    std::map<std::string, at::Tensor> masks;  // of the trainer's model, whose values these last took
    Batch batch;
    GradientPolicy policy = GradientPolicy::kStraightThrough;
    bool needs_gradients = false;
    StepTensors tensors;
    std::unique_ptr<Recording> differentiate, learn;
  };

  Trainer(TrainingSetup setup, ValidationSplit split, Model model);

  const LabelledImages& train() const { return split_.train.size() > 0 ? split_.train : setup_.dataset->train; }
  absl::Status Step();
  // By which gradients are computed, before Learn makes of them what the strategy wants learnt.
  GradientPolicy StepPolicy() const;
  // The first half of a step on `batch`, by `model`, this trainer's or one that shares its parameters. Neither half
  // waits for the device, but on an epoch's last step.
  void Differentiate(Model& model, const Batch& batch, bool last_step, StepTensors& step);
  // The second half: what masked weights must not learn is taken out, the penalty's gradient added, and SGD steps.
  void Learn(const Model& model, bool last_step, StepTensors& step);
  // Whether recorded_ is a recording of the step to come on a batch such as `batch`.
  bool RecordingFits(const Batch& batch) const;
  absl::Status Record(const Batch& batch);
  // Puts the masks in force, and the batch, where recorded_ reads them.
  void GiveRecording(const Batch& batch);
  // The step's that comes, or, `back` = 1, of the one just done.
  StepPosition Position(int64_t back = 0) const;
  // Applies what the strategy answered; lost weights make the record one of a diverged epoch.
  absl::Status UpdateMasks(const absl::StatusOr<std::optional<MaskUpdate>>& update, EpochRecord& record);
  void ApplyAndCount(const MaskUpdate& update, EpochRecord& record);
  // Parameters and buffers from those of `tensors` that are named like them.
  void Restore(const std::map<std::string, at::Tensor>& tensors);
  void Apply(const MaskUpdate& update, const std::map<std::string, at::Tensor>& before);
  std::vector<PrunableLayer> PrunableLayers() const;
  // With the masks of `model`.
  std::vector<RegularizedLayer> RegularizedLayers(const Model& model) const;
  // Gradients of the loss by parameter. The term on activations goes back with the loss; where the loss's gradients
  // are wanted alone (on the epoch's last step, and by strategies), its own are computed beside them.
  std::vector<at::Tensor> BackPropagate(const at::Tensor& loss, ActivationPenalty& activations, bool last_step) const;
  // Adds the weighted penalty's gradient; on the epoch's last step its measures go into `record`.
  void AddPenalty(const Model& model, const ActivationPenalty& activations, std::vector<at::Tensor>& gradients,
                  bool last_step, EpochRecord& record) const;
  void RecalibrateBatchNorm(int64_t epoch);
  // Evaluates the epoch in `record`, where that is due; what is not finite by then makes it one of a diverged epoch.
  void EndRecord(EpochRecord& record);
  void Measure(EpochRecord& record) const;

  TrainingSetup setup_;
  ValidationSplit split_;  // empty where all training images are trained on
  Model model_;
  StartMasks start_masks_;
  std::optional<ModelProbe> probe_;  // where the strategy looks at the network
  std::unique_ptr<Plan> step_plan_;  // in the precision of the config
  std::unique_ptr<Plan> plan_;       // in the model's own: how it is evaluated
  TrainingBatches batches_;
  SgdOptimizer optimizer_;
  std::vector<at::Tensor> parameters_;          // the model's, in its order
  std::vector<int64_t> layer_parameter_;        // for each regularized layer the index of its weight in parameters_
  std::map<std::string, int64_t> conv_weight_;  // conv node -> index in parameters_
  std::map<std::string, at::Tensor> ones_;      // conv node -> a filter mask of ones
  std::map<std::string, at::Tensor> last_gradients_;  // conv node -> of the last step, where the strategy asks for them
  std::map<std::string, at::Tensor> start_;           // parameters and buffers at the start, for rewinding
  int64_t epoch_ = 0, iteration_ = 0;                 // the next step's
  int64_t executed_macs_ = 0;
  mutable bool total_epochs_read_ = false;  // by the strategy
  EpochRecord record_;  // of the epoch under way; its mask_changes and returned_filters are in sums_ till it ends
  EpochSums sums_;
  std::optional<RecordedStep> recorded_;
  int64_t warm_up_steps_ = 0;  // done of those that come before recorded_ is made
};

}  // namespace prunelab
