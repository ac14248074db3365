// Finds the rounding of channels that makes a removed network fastest on this machine.
//
//   const FastestMultiple fastest = FindFastestMultiple(network, options, /*batch_size=*/64, at::kCPU);
//   options.channel_multiple = fastest.multiple;
//
// Convolution libraries have kernels for multiples of their vectors: 16 -> 7 channels can take longer than 16 -> 16.
// Whether it does depends on the processor, so it is measured.
#pragma once

#include <cstdint>
#include <vector>

#include "ml/compression/compress.h"
#include "ml/execution/latency.h"

namespace prunelab {

struct TriedMultiple {
  int64_t multiple = 1;
  int64_t parameters = 0;  // of the removed network, stored constants counted
  Latency latency;
};

struct FastestMultiple {
  int64_t multiple = 1;
  std::vector<TriedMultiple> tried;  // 1, 4, 8, 16
};

// Removes with each multiple (with the other `options` as they are) and times the results in turn on `device`, with BN
// folded, for at most about `seconds`. Among those within 2 % of the fastest the smallest multiple is chosen, because
// it has the fewest parameters.
FastestMultiple FindFastestMultiple(const WeightedNetwork& network, const CompressionOptions& options,
                                    int64_t batch_size, at::Device device, double seconds = 8);

// FindFastestMultiple's choice among the multiples that were tried, in ascending order.
int64_t ChooseMultiple(const std::vector<TriedMultiple>& tried);

}  // namespace prunelab
