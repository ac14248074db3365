// What a training measures of an epoch: what Trainer::RunEpoch returns and records of runs keep.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "ml/training/evaluate.h"

namespace prunelab {

// What is known at the end of an epoch. Fractions are of 1; what was not measured is absent.
struct EpochRecord {
  int64_t epoch = 0;  // of the run
  std::string phase;  // of the run's training, where it has phases; the trainer leaves it empty
  // The loss, a weight, a running statistic or a logit of an evaluation is infinite or not a number: training cannot go
  // on, and the evaluations are absent.
  bool diverged = false;
  std::string divergence;                // which of them, for people; in no file of records
  double learning_rate = 0;              // of the last step
  double train_loss = 0;                 // mean over the epoch, without the penalty
  double train_top1 = 0;                 // by the logits of training
  std::optional<Evaluation> test;        // on the epochs that are evaluated
  std::optional<Evaluation> validation;  // likewise, where the config sets images aside
  double penalty = 0;                    // with its weight, at the last step
  double penalty_gradient_ratio = 0;     // norm of the weighted penalty's gradient / of the loss's, at the last step
  std::optional<double> mean_abs_rho;    // absent where no layer has two live filters
  int64_t mask_updates = 0;              // in this epoch
  int64_t mask_changes = 0;              // entries (filters or weights) that changed, over all updates
  int64_t returned_filters = 0;          // entries that came back, over all updates
  double filter_sparsity = 0, weight_sparsity = 0, paper_sparsity = 0;
  int64_t live_parameters = 0, live_macs = 0;   // after exact removal
  std::map<std::string, int64_t> live_filters;  // by conv node
};

}  // namespace prunelab
