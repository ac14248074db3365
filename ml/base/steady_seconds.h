#pragma once

#include <chrono>

namespace prunelab {

// Seconds on a clock that never goes back, from an arbitrary start. Use it for durations.
inline double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace prunelab
