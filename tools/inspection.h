// A network's layers as a table, and the measures of its size, which always appear together: filters, weights, the
// paper's sparsity, and what exact removal of dead filters leaves.
#pragma once

#include <string>

#include "ml/execution/model.h"
#include "ml/network/network.h"

namespace prunelab {

// A dense network: every filter counts as live.
std::string InspectNetwork(const NetworkInfo& info);

// A network with the model's masks, weights and running statistics.
std::string InspectModel(const Model& model);

}  // namespace prunelab
