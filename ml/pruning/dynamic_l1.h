// Dynamic filter pruning, the paper's method (after Cho and Bae 2020): every `period` steps all filters are ranked by
// importance, mean |w| unless asked otherwise, and those at or below the threshold are masked. The ranking reads the
// dense weights and the gradient passes masks unchanged (straight-through), so a masked filter goes on learning and can
// return.
//
// An importance that reads gradients uses those of the last step. Parameters that would make it rank before any step
// are refused.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/pruning/dynamic_l1.pb.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateDynamicL1(const DynamicL1& parameters,
                                                                 const PruningSetup& setup);

}  // namespace prunelab
