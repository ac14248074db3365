// Measures how long models take for a batch in evaluation mode, on this machine, now.
//
//   const std::vector<Latency> latencies = MeasureLatencies({&dense, &small}, /*batch_size=*/64, /*runs=*/20,
//                                                           /*seconds=*/5);
//   std::cout << latencies[0].median / latencies[1].median << " times as fast";
#pragma once

#include <cstdint>
#include <vector>

#include "ml/execution/model.h"

namespace prunelab {

struct Latency {
  double median = 0;                              // seconds per batch
  double first_quartile = 0, third_quartile = 0;  // seconds per batch
  int64_t runs = 0;
  double spread() const { return third_quartile - first_quartile; }
};

// The latency of each model, for one input shape, on random images. The models take turns, so that other load on the
// machine disturbs all of them equally. Two turns are not counted; then `runs` turns are timed, or fewer (at least
// three) if they take longer than `seconds` together.
// Each model runs by a skipping plan of its own (of many models one plan would forget the first) and keeps what its
// values alone decide between calls, as Inference does (ml/compression/inference.h).
std::vector<Latency> MeasureLatencies(const std::vector<Model*>& models, int64_t batch_size, int64_t runs,
                                      double seconds);

}  // namespace prunelab
