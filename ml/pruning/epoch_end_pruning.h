// The protocol that soft filter pruning (He, Kang, Dong, Fu and Yang 2018, IJCAI) and its successors share: filters are
// chosen and set to zero at the end of an epoch, evaluated like that, and chosen again at the end of later ones. The
// last epoch always ends like that.
//
// - Soft: in the epochs between, all filters are free and trained from their current values, zero or not.
// - Hard: the masks stay on, and their filters get no gradient, until the next choice.
//
// Filters are also set to zero before the first step, as the published programs do.
#pragma once

#include <cstdint>
#include <memory>

#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

struct EpochEndOptions {
  double rate = 0;            // in [0, 1)
  int64_t period_epochs = 1;  // at the ends of the epochs 0, period, 2 period, ..., and of the last; at least 1
  bool soft = true;
};

// `ranking` is of filters.
std::unique_ptr<PruningStrategy> MakeEpochEndPruning(const EpochEndOptions& options, LayerRanking ranking);

}  // namespace prunelab
