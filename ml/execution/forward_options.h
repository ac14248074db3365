// How to run a network: the terms that plans and the code for single nodes share.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <set>
#include <string>

#include "ml/network/masks.h"

namespace prunelab {

class Ranks;           // ml/distributed/ranks.h
class PreparedValues;  // prepared_values.h

enum class Mode {
  kTrain,     // BN by the batch's statistics, running statistics updated
  kEvaluate,  // BN by the running statistics
};

struct ForwardOptions {
  Mode mode = Mode::kEvaluate;
  GradientPolicy policy = GradientPolicy::kStraightThrough;
  std::set<std::string> capture;  // names of nodes whose outputs to return
  // In kTrain, the weight of the batch in all running statistics, instead of each node's momentum.
  std::optional<double> batch_norm_momentum;
  // In kTrain, what dropout nodes keep, by node (dropout.h). A node that is not among them passes its input on, as all
  // do in kEvaluate.
  std::map<std::string, at::Tensor> kept;
  // In kTrain, the processes over whose images together batch norms take their statistics; null: over this one's. Only
  // ReferencePlan can do it.
  Ranks* batch_norm_ranks = nullptr;
  // In kEvaluate, where steps keep what they make of the model's values, which must not change as long as it is used;
  // null: they make it in each call.
  PreparedValues* prepared = nullptr;
};

}  // namespace prunelab
