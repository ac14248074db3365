// A strategy that ranks its layers' scores at certain times, each time at a certain rate, and masks what scores least:
// what static, dynamic_l1, unstructured, gradual, dpf, pfec and lamp are. They differ in the times and the scores.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "ml/network/masks.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.pb.h"

namespace prunelab {

// The rate at which the layers are ranked before the step at a position; no value where nothing is ranked.
using RateAt = std::function<std::optional<double>(const StepPosition& position)>;

// Once, before the epoch's first step.
RateAt RateOnce(int64_t epoch, double rate);

struct RankedPruningOptions {
  RateAt rate_at;
  GradientPolicy gradient_policy = GradientPolicy::kMasked;
  bool regrows = false;  // see PruningStrategy
  DeadGradient dead_gradient = {};
  OnReturn::Kind on_return = OnReturn::KEEP;  // of filters
  // For REINITIALISE: the run's seed, and the deviation of fresh weights by convolution.
  uint64_t seed = 0;
  std::map<std::string, double> deviations = {};
};

std::unique_ptr<PruningStrategy> MakeRankedPruning(RankedPruningOptions options, LayerRanking ranking);

}  // namespace prunelab
