// The training loop. A step, in this order: the strategy may change the masks; forward with masked weights; loss;
// backward, gradients by the strategy's policy; the regularizer's gradient added; SGD. An epoch ends with an
// evaluation.
//
//   Trainer trainer(std::move(setup));
//   for (int64_t epoch = 0; epoch < epochs; ++epoch) {
//     PRUNELAB_ASSIGN_OR_RETURN(const EpochRecord record, trainer.RunEpoch(epoch));
//     if (record.diverged) break;
//   }
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
#include "ml/execution/plan.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/regularizers/regularizer.h"
#include "ml/training/evaluate.h"
#include "ml/training/sgd.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// Where a person's patience is told how far an epoch is.
struct StepProgress {
  int64_t epoch = 0;
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
  std::function<void(const StepProgress&)> on_step;  // may be empty
};

// What is known at the end of an epoch. Fractions are of 1; what was not measured is absent.
struct EpochRecord {
  int64_t epoch = 0;
  bool diverged = false;               // the loss is not a number or infinite: training cannot go on
  double learning_rate = 0;            // of the last step
  double train_loss = 0;               // mean over the epoch, without the penalty
  double train_top1 = 0;               // by the logits of training
  std::optional<Evaluation> test;      // on the epochs that are evaluated
  double penalty = 0;                  // with its weight, at the last step
  double penalty_gradient_ratio = 0;   // norm of the weighted penalty's gradient / of the loss's, at the last step
  std::optional<double> mean_abs_rho;  // absent where no layer has two live filters
  int64_t mask_updates = 0;            // in this epoch
  int64_t mask_changes = 0;            // entries (filters or weights) that changed, over all updates
  int64_t returned_filters = 0;        // entries that came back, over all updates
  double filter_sparsity = 0, weight_sparsity = 0, paper_sparsity = 0;
  int64_t live_parameters = 0, live_macs = 0;   // after exact removal
  std::map<std::string, int64_t> live_filters;  // by conv node
};

class Trainer {
 public:
  // Initial weights come from the seed.
  explicit Trainer(TrainingSetup setup);

  // Trains one epoch and evaluates. Epochs must follow each other from 0. Errors: what the strategy refuses.
  absl::StatusOr<EpochRecord> RunEpoch(int64_t epoch);

  const Model& model() const { return model_; }
  Model& model() { return model_; }
  int64_t iterations_per_epoch() const { return batches_.batches_per_epoch(); }

 private:
  absl::Status UpdateMasks(const StepPosition& position, EpochRecord& record);
  void Apply(const MaskUpdate& update, const std::map<std::string, at::Tensor>& before);
  std::vector<PrunableLayer> PrunableLayers() const;
  std::vector<RegularizedLayer> RegularizedLayers() const;
  // Adds the weighted penalty's gradient; on the epoch's last step its measures go into `record`.
  void AddPenalty(std::vector<at::Tensor>& gradients, bool last_step, EpochRecord& record) const;
  void RecalibrateBatchNorm(int64_t epoch);
  void Measure(EpochRecord& record) const;

  TrainingSetup setup_;
  Model model_;
  ReferencePlan plan_;
  TrainingBatches batches_;
  SgdOptimizer optimizer_;
  std::vector<at::Tensor> parameters_;          // the model's, in its order
  std::vector<int64_t> layer_parameter_;        // for each regularized layer the index of its weight in parameters_
  std::map<std::string, int64_t> conv_weight_;  // conv node -> index in parameters_
  std::map<std::string, at::Tensor> ones_;      // conv node -> a filter mask of ones
  std::map<std::string, at::Tensor> last_gradients_;  // conv node -> of the last step, where the strategy asks for them
  std::map<std::string, at::Tensor> start_;           // parameters and buffers at the start, for rewinding
};

}  // namespace prunelab
