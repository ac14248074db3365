// How much each layer gives, by what its pruning costs in loss and saves in time or size: from measurements of each
// layer by itself (//tools:sensitivity) to a rate for each.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prunelab {

// What was measured of a layer: k-th, with `rates[k]` of it masked and nothing else. The first rate is 0.
struct LayerChoices {
  std::string layer;
  std::vector<double> rates;    // ascending
  std::vector<double> losses;   // what the loss rises by; may be negative
  std::vector<double> savings;  // of what the network costs, not negative
};

// By layer the index of its choice, of least sum of losses among those whose savings add up to at least `savings`: an
// integer program, as HALP's and MDP's (Shen et al. 2022, Sun et al. 2025), solved by COIN-OR's Cbc. Losses and savings
// of different layers are taken to add up. Error: OutOfRange, if all layers together do not save that much.
absl::StatusOr<std::vector<size_t>> LeastLoss(const std::vector<LayerChoices>& layers, double savings);

// Of each layer the highest rate up to which its loss rises by no more than a threshold, the lowest with which all
// together save at least `savings`: the classic use of a sensitivity analysis (Li et al. 2017, "Pruning Filters for
// Efficient ConvNets"). Error: as LeastLoss.
absl::StatusOr<std::vector<size_t>> EqualLoss(const std::vector<LayerChoices>& layers, double savings);

// The sum of what the choices save, or lose.
double SavedBy(const std::vector<LayerChoices>& layers, const std::vector<size_t>& choices);
double LostBy(const std::vector<LayerChoices>& layers, const std::vector<size_t>& choices);

}  // namespace prunelab
