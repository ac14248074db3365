// Which crashes of workers count against their runs. Processes that share a GPU by NVIDIA's multi-process service also
// share its faults: one process's illegal access ends all of them, and none is told whose it was. So only the first to
// end is charged; the others, which were already running then and end soon after it, are tried again as if they had
// not ended. Each such fault is charged to one run, so a run that always faults does not go on forever.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>

namespace prunelab {

class SharedCrashes {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // By when a fault has ended all processes that it reaches.
  static constexpr std::chrono::seconds kSpread{60};

  // Whether the crash of a worker on the GPU `gpu`, which was started at `started` and ended at `ended`, counts. To be
  // asked once for each crash, in the order in which they are noticed.
  bool Counts(size_t gpu, Time started, Time ended) {
    const auto last = charged_.find(gpu);
    if (last != charged_.end() && started < last->second && ended <= last->second + kSpread) return false;
    charged_[gpu] = ended;
    return true;
  }

 private:
  std::map<size_t, Time> charged_;  // by GPU, the end of the last that counted
};

}  // namespace prunelab
