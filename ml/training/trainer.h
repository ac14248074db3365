// The training loop. A step, of one batch or of several, does the following, in this order: the strategy may change the
// masks; forward pass with masked weights and dropout; loss; backward pass, with gradients by the strategy's policy;
// the regularizer's gradient is added; the sum is clipped; a step of the optimizer. After an epoch's last step the
// strategy may change the masks again, and then the epoch is evaluated.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer, Trainer::Create(std::move(setup)));
//   while (trainer->epoch() < epochs) {
//     PRUNELAB_ASSIGN_OR_RETURN(const EpochRecord record, trainer->RunEpoch());
//     if (record.diverged) break;
//   }
//
// Training can be stopped after any step and resumed by another process (SaveState, LoadState). The rest is
// bit-identical to what an undisturbed run computes, with the same number of threads on the same kind of CPU.
//
// On a GPU (docs/performance.md) float32 is IEEE's, and TF32 or bfloat16 only where the config says so, in a step's
// forward and backward pass (ml/execution/device_arithmetic.h). The host is at most HostLead::kSteps steps ahead of it.
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
#include "ml/distributed/ranks.h"
#include "ml/distributed/step_reduction.h"
#include "ml/execution/dropout.h"
#include "ml/execution/host_lead.h"
#include "ml/execution/mask_updates.h"
#include "ml/execution/model_probe.h"
#include "ml/execution/plan.h"
#include "ml/execution/recorder.h"
#include "ml/execution/saved_state.h"
#include "ml/execution/start_masks.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/quantization/quantized_training.h"
#include "ml/regularizers/regularizer.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/averaged_network.h"
#include "ml/training/epoch_measures.h"
#include "ml/training/epoch_record.h"
#include "ml/training/filter_measures.h"
#include "ml/training/loss.h"
#include "ml/training/optimizer.h"
#include "ml/training/penalty.h"
#include "ml/training/prunable_layers.h"
#include "ml/training/step_capture.h"
#include "ml/training/step_sum.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// The progress of an epoch, for display.
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
  std::optional<WeightGrowth> penalty_growth = std::nullopt;  // of the weight
  uint64_t seed = 0;
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
  // Weights, buffers and masks to start from instead of fresh ones, under PyTorch's names. Masked weights become zero
  // and stay masked, unless the strategy lets them return (start_masks.h).
  std::optional<Safetensors> initial_weights;
  std::string initial_weights_name;  // their name in errors
  // The network that this one learns from, where the config has a teacher, on the device in `dtype`.
  std::optional<Model> teacher;
  // For a run that is trained in several stretches, each by its own trainer: this trainer's place in the run, and the
  // state at the end of the previous stretch (weights, buffers and masks of the whole network; masks as in
  // initial_weights).
  int64_t first_epoch = 0;
  std::optional<Safetensors> continued_from;
  // With quantization: the ranges at the end of the previous stretch (QuantizedTrainingPlan::ranges).
  std::map<std::string, at::Tensor> continued_ranges;
  // Weights and buffers that the network is rewound to after the strategy's first update, or, instead of these, those
  // of the run's start; masks stay.
  std::optional<Safetensors> rewind_to;
  bool rewind_to_start = false;
  // The processes that train together, one trainer in each, with the same setup; null: this one alone. It outlives the
  // trainer. All make the same calls, and all have the same weights, masks, moments and running statistics after each
  // step: the latter are the mean of what each rank's share of the batches makes of them.
  Ranks* ranks = nullptr;
  std::function<void(const StepProgress&)> on_step;  // after each step; may be empty; SaveState may be called
  // Called after each step, may be empty: true, of any rank, ends the training there.
  std::function<bool()> stop;
  std::function<void(const std::string&)> on_warning;  // of what a user should know; may be empty
  // Captures steps, so that they are replayed instead of launched kernel by kernel. Null: CUDA graphs on a GPU, unless
  // the config turns them off, and no capturing on the CPU. A step that cannot be captured is warned of, and launched
  // kernel by kernel.
  std::unique_ptr<Recorder> recorder;
};

class Trainer {
 public:
  // Initial weights come from the seed, or from `setup.initial_weights`. Errors: weights that do not fit the network; a
  // precision that the device does not have; validation data that leave a class nothing to train on; a last batch of
  // one image before a batch norm of one pixel; a teacher that is none for this network.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(TrainingSetup setup);

  // Trains to the end of epoch() and evaluates. Errors: what the strategy refuses; Cancelled if `setup.stop` returned
  // true. Then the next call, here or elsewhere after LoadState, continues with the next step.
  absl::StatusOr<EpochRecord> RunEpoch();

  // The epoch that RunEpoch trains next, counted from TrainingSetup::first_epoch, and how many of its steps are done.
  int64_t epoch() const { return epoch_; }
  int64_t iteration() const { return iteration_; }
  int64_t images() const { return sums_.images(); }  // that these steps trained on

  // Everything that the rest of the training depends on (ml/execution/saved_state.h): weights, buffers, masks,
  // the optimizer's moments, averages, the strategy's state, the last gradients if it needs them, the position in the
  // epoch and its sums so far. Call it between steps, as in on_step.
  Safetensors SaveState() const;
  // Resumes training from `state`. `name` is its name in errors: a state of another network or strategy, or an
  // incomplete one; then this object must not be used any more.
  absl::Status LoadState(const Safetensors& state, const std::string& name);

  // What a saved state says by itself: the next epoch and step, and whether the strategy has read the number of epochs
  // by then (this is also true if the state does not say so, as one of an older program). No value: it is not a state.
  struct SavedPlace {
    int64_t epoch = 0, iteration = 0;
    bool total_epochs_read = true;
  };
  static std::optional<SavedPlace> PlaceOf(const Safetensors& state);

  // ForwardResult::executed_macs of the last step, of this rank's share; 0 before it.
  int64_t executed_macs() const { return executed_macs_; }

  // The network that is trained.
  const Model& model() const { return model_; }
  Model& model() { return model_; }
  // The network that evaluations are of, and that is what a run leaves: the average of that one's weights if the config
  // asks for it, as it was at the end of the last call of RunEpoch; else the same.
  Model& result() { return average_ ? average_->network() : model_; }
  // The plan that observes ranges and rounds, if the config asks for quantization; else null.
  const QuantizedTrainingPlan* quantizer() const { return quantizer_; }
  // Steps of an epoch, of one batch each or as many as the config accumulates.
  int64_t iterations_per_epoch() const;
  int64_t train_images() const { return train().size(); }  // an epoch's

 private:
  Trainer(TrainingSetup setup, ValidationSplit split, Model model);

  const LabelledImages& train() const { return split_.train.size() > 0 ? split_.train : setup_.dataset->train; }

  // Where in training the step to come is, or, `back` = 1, the one just done.
  StepPosition Position(int64_t back = 0) const;
  // Applies the strategy's answer; weights that are no longer finite end the epoch as diverged.
  absl::Status UpdateMasks(const absl::StatusOr<std::optional<MaskUpdate>>& update);
  // Before a rewinding training's first step: weights and buffers go back; masks stay.
  void Rewind();

  // As many as the config accumulates, or all of an epoch.
  int64_t batches_per_step() const;
  absl::Status Step();
  // The first half of the step on all its batches, `captured` or with `own` tensors. Null: a loss is not finite, and
  // the epoch has diverged.
  absl::StatusOr<StepTensors*> DifferentiateBatches(bool captured, bool last_step, StepTensors& own);
  // How gradients are computed, before Learn makes of them what the strategy wants learnt.
  GradientPolicy StepPolicy() const;
  // The first half of a step on `inputs`, with `model`, which is this trainer's or one that shares its parameters.
  // Neither half synchronizes with the device, except in an epoch's last step.
  void Differentiate(Model& model, const StepInputs& inputs, bool last_step, StepTensors& step);
  // Sums over ranks what Differentiate has left, of the step's `all_images` images. `in_place`: in the step's own
  // tensors.
  void Reduce(Model& model, int64_t own_images, int64_t all_images, bool in_place, StepTensors& step);
  // An error if a rank has other weights, masks or moments than rank 0: it names the first that differs.
  absl::Status CheckRanksAgree();
  // The second half: removes what masked weights must not learn, adds the penalty's gradient, clips the sum, and makes
  // a step of the optimizer.
  void Learn(const Model& model, bool last_step, StepTensors& step);
  // For the strategy, where it asks for them. `copy`: the next step writes over `gradients`.
  void KeepGradients(const std::vector<at::Tensor>& gradients, bool copy);

  // The epoch's steps that are left, and what the strategy does after the last.
  absl::Status TrainEpoch();
  // To the epoch's end, to where it diverges, or to where `setup.stop` says so (Cancelled).
  absl::Status RunSteps();
  absl::Status RecalibrateBatchNorm(int64_t epoch);
  // result(), or the quantized network that it stands for.
  absl::StatusOr<Model> EvaluatedModel();
  // Evaluates the epoch in `record` if that is due; values that are not finite make it a diverged epoch.
  absl::Status EvaluateEpoch(EpochRecord& record);

  // Masks by conv node, of those in a saved state.
  std::map<std::string, at::Tensor> TakeMasks(SavedState::Group group, StateReader& reader) const;
  void TakeGradients(StateReader& reader);
  void TakeFilterMeasures(StateReader& reader);
  void TakeRanges(StateReader& reader);
  // The place in the training, and what is known of the epoch so far.
  SavedState Progress() const;
  void SetProgress(const SavedState& saved);

  TrainingSetup setup_;
  ValidationSplit split_;  // empty if all training images are trained on
  Model model_;
  StartMasks start_masks_;
  PrunableLayers layers_;
  std::optional<ModelProbe> probe_;             // if the strategy looks at the network
  std::unique_ptr<Plan> step_plan_;             // in the precision of the config
  QuantizedTrainingPlan* quantizer_ = nullptr;  // that plan, with quantization
  std::unique_ptr<Plan> plan_;                  // in the model's own precision: for evaluation
  TrainingLoss loss_;
  StepPenalty penalty_;
  TrainingBatches batches_;
  StepDropout dropout_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<AveragedNetwork> average_;      // if the config asks for it
  std::optional<StepCapture> capture_;          // where steps are captured
  std::optional<HostLead> lead_;                // on a GPU
  std::map<std::string, size_t> conv_weights_;  // conv node -> index of its weight among the model's parameters
  std::map<std::string, at::Tensor>
      last_gradients_;                       // conv node -> gradient of the last step, if the strategy asks for it
  std::map<std::string, at::Tensor> start_;  // parameters and buffers at the start, for rewinding
  int64_t epoch_ = 0, iteration_ = 0;        // the next step's
  int64_t executed_macs_ = 0;
  mutable bool total_epochs_read_ = false;  // by the strategy
  EpochRecord epoch_so_far_;                // without what sums_ has until the epoch ends
  EpochSums sums_;
  std::optional<StepReduction> reduction_;         // with several ranks
  std::optional<EpochSums> step_sums_;             // with several ranks: this one's, of the step
  std::optional<FilterMeasures> filter_measures_;  // if the config asks for them
};

}  // namespace prunelab
