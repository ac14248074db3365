// The liveness analysis (ml/network/liveness.h) of a model as it is: its masks, weights and running statistics.
#pragma once

#include "ml/execution/model.h"
#include "ml/network/liveness.h"

namespace prunelab {

Liveness AnalyzeLiveness(const Model& model);

}  // namespace prunelab
