// Finds the layout of a removed network (channel_layout.h) that is the fastest in an engine.
//
//   const absl::StatusOr<FastestLayout> fastest = FindFastestLayout(network, options, TimerHere({/*batch_size=*/1}));
//   options.layout = fastest->layout;
//
// Engines have kernels for multiples of their vectors, run a convolution and the sum after it as one where nothing is
// between them, and pay for every call: 16 -> 7 channels can take longer than 16 -> 16, and a scatter longer than the
// multiplications that it saves. All of that depends on the engine, the processor, the batch and the size of the maps,
// so whole networks are timed.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/compression/compress.h"
#include "ml/compression/network_timer.h"
#include "ml/execution/latency.h"

namespace prunelab {

struct TriedLayout {
  ChannelLayout layout;
  int64_t parameters = 0;  // of the removed network, stored constants counted
  int64_t macs = 0;        // of one image
  Latency latency;
};

struct FastestLayout {
  ChannelLayout layout;
  // The first is the plain layout, followed by others that are the same in all layers; then, where the search found it,
  // by layouts that differ by the size of maps. All of them were timed in turn, after the search.
  std::vector<TriedLayout> tried;
};

// Removes (with the other `options` as they are) by multiples of 1, 4, 8 and 16 and each kind of streams, first
// the same for all layers, then for each size of maps. Among the best of these, the one with the fewest parameters of
// those within 2 % of the fastest is chosen. Errors: the timer's.
absl::StatusOr<FastestLayout> FindFastestLayout(const WeightedNetwork& network, const CompressionOptions& options,
                                                const NetworkTimer& timer);

// FindFastestLayout's choice: the index of one of those that were tried.
size_t ChooseLayout(const std::vector<TriedLayout>& tried);

}  // namespace prunelab
