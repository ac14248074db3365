// The optimizer that a config asks for.
#pragma once

#include <memory>
#include <vector>

#include "ml/training/optimizer.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// Of `parameters`, which it changes in place. Its learning rate is to be set before each step (schedule.h).
std::unique_ptr<Optimizer> MakeOptimizer(const Training& config, const std::vector<NamedTensor>& parameters);

}  // namespace prunelab
