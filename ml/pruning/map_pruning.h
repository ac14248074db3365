// Strategies that mask, once and in each layer, the filters whose feature maps score least, such as chip and hrank. An
// author writes the score of the maps:
//
//   absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateHrank(const Hrank& parameters, const PruningSetup& setup) {
//     return CreateMapPruning(parameters, setup, &MapRanks);
//   }
//
// A layer's feature maps are those after its ReLU, or after the sum where the layer ends a residual block, of the
// network in evaluation mode. Where no ReLU follows before another convolution or a branch, it is the last map before
// that.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "ml/network/layer_selection.pb.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

// Of finite maps [n, C, H, W] a number for each channel, the sum over the n images: float64 [C], on the CPU.
using MapScore = std::function<at::Tensor(const at::Tensor& maps)>;

struct MapPruningOptions {
  double rate = 0;
  int64_t epoch = 0;
  int64_t images = 0;
  LayerSelection layers;
  int64_t min_live_filters = 0;
};

// Field errors of the fields of these names.
absl::StatusOr<std::unique_ptr<PruningStrategy>> MakeMapPruning(MapPruningOptions options, const PruningSetup& setup,
                                                                MapScore score);

// Of parameters with these five fields.
template <typename Parameters>
absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateMapPruning(const Parameters& parameters,
                                                                  const PruningSetup& setup, MapScore score) {
  return MakeMapPruning(
      {parameters.rate(), parameters.epoch(), parameters.images(), parameters.layers(), parameters.min_live_filters()},
      setup, std::move(score));
}

}  // namespace prunelab
