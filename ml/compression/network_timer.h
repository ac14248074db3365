// How long networks take: here, or in another engine (tools/engine_timer.h).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/compression/weighted_network.h"
#include "ml/execution/latency.h"

namespace prunelab {

// Times networks in turn; returns the times in the networks' order.
using NetworkTimer =
    std::function<absl::StatusOr<std::vector<Latency>>(const std::vector<const WeightedNetwork*>& networks)>;

struct TimerOptions {
  int64_t batch_size = 64;
  int64_t runs = 1000;  // of each network at most
  double seconds = 6;   // for about all runs of a call together; three of each network are made in any case
};

// As Inference runs them (inference.h), on the CPU, with BN folded.
NetworkTimer TimerHere(const TimerOptions& options);

}  // namespace prunelab
