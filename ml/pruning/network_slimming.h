// Network slimming: Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming" (ICCV). A
// filter's importance is |gamma|, the scale of the batch norm behind it. The network trains with an L1 penalty on all
// scales (the regularizer batch_norm_l1); then one threshold over all layers masks a fraction of the filters, and
// training goes on under fixed masks.
//
// As in the original, scale and bias of a masked filter's batch norm become zero: the filter is gone, not a constant.
// The threshold is its rule too: sorted[int(n * rate)], masked where |gamma| is not larger.
//
// Differences. The original ranks every batch norm, and its ResNets are of the pre-activation form, where batch norm
// comes before the convolution and selects the channels that this reads; here a filter is ranked where its convolution
// has a batch norm to itself behind it, and other convolutions stay whole. It builds a smaller network and trains that
// anew or on; here the bias of a masked filter's batch norm goes on learning, a constant that removal keeps. It may
// lose a whole layer; here min_live_filters is 1 unless set to 0.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/pruning/network_slimming.pb.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

// Refuses a choice of layers in which no convolution has a batch norm behind it, and epoch 0 where the weights are
// fresh. Update's error: scales that are all equal, as those of a fresh network are.
absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateNetworkSlimming(const NetworkSlimming& parameters,
                                                                       const PruningSetup& setup);

}  // namespace prunelab
