// Prunes to a goal: finds the rate at which the network that removal leaves costs what was asked for.
//
//   PruningGoal goal;
//   goal.set_macs(0.5);
//   const auto removal = [&](const Rates& rates) -> absl::StatusOr<WeightedNetwork> {
//     WeightedNetwork removed = network;
//     PRUNELAB_RETURN_IF_ERROR(RemoveCoupled(removed, {rates.rate}).status());
//     return removed;
//   };
//   PRUNELAB_ASSIGN_OR_RETURN(const MetGoal met, MeetGoal(goal, network, 0, removal, nullptr));
//
// What counts is the removed network itself: rounding to fast multiples, filters that die because nothing reads them,
// and stored constants are in it. So no formula leads from a cost to a rate, and the rate is found by bisection.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/compression/goal.pb.h"
#include "ml/compression/goal_config.h"
#include "ml/compression/network_timer.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

// The bytes of the network's checkpoint.
int64_t FileBytes(const WeightedNetwork& network);

// What `removed` costs of what `dense` costs. `timer` is called for a latency alone, once, with both. Error: the dense
// network costs nothing.
absl::StatusOr<double> ShareOf(const PruningGoal& goal, const WeightedNetwork& dense, const WeightedNetwork& removed,
                               const NetworkTimer& timer);

// The highest rate that is tried.
inline constexpr double kHighestRate = 0.999;

struct Rates {
  double rate = 0;         // in [0, 1)
  double higher_rate = 0;  // of the first `layers_at_higher` layers
  int64_t layers_at_higher = 0;
};

// For people, e.g. "rate 0.5".
std::string Text(const Rates& rates);

// The network that is left; `dense` itself stays as it is.
using RemovalAt = std::function<absl::StatusOr<WeightedNetwork>(const Rates& rates)>;

// `lower`, with the weights that `higher` has in the first `layers` convolutions. Error: Unimplemented, if the two
// differ in more than weights of convolutions that are zero in one of them: then a layer's change has to do with
// others', as where the next convolution makes up for the filters that have gone, and a mixture is neither.
absl::StatusOr<WeightedNetwork> WithLayersOf(const WeightedNetwork& higher, int64_t layers, WeightedNetwork lower);

struct TriedRates {
  Rates rates;
  double share = 0;
};

struct MetGoal {
  Rates rates;
  double share = 0;               // of what the dense network costs; of a latency measured by itself, after the search
  WeightedNetwork removed;        // at these rates
  std::vector<TriedRates> tried;  // in the order of the search
};

// Of the rates that were tried, those whose share is nearest to the goal. Shares are taken to fall with the rate. Where
// they jump past the goal, because a slightly higher rate takes a filter from every layer at once, only the first
// layers get the higher rate: as many of `layers` as meet the goal (0: `removal` knows a single rate, as it may also
// say by Unimplemented). A latency is measured anew at each rate, dense and removed network in turn, and once more at
// the end: what that says is the result. Errors: OutOfRange, with what can be reached, if nothing comes within the
// tolerance of the goal; those of `removal` and `timer`. `on_tried`, if set, is called after each trial.
absl::StatusOr<MetGoal> MeetGoal(const PruningGoal& goal, const WeightedNetwork& dense, int64_t layers,
                                 const RemovalAt& removal, const NetworkTimer& timer,
                                 const std::function<void(const TriedRates&)>& on_tried = {});

}  // namespace prunelab
