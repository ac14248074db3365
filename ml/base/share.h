// One of several equal parts of something that is counted.
#pragma once

#include <cstdint>

namespace prunelab {

// Part `index` of `count`: of n things those from Begin(n) to before End(n). The parts are consecutive, leave nothing
// out and differ by at most one.
struct Share {
  int64_t index = 0, count = 1;

  int64_t Begin(int64_t n) const { return n * index / count; }
  int64_t End(int64_t n) const { return n * (index + 1) / count; }
  int64_t Size(int64_t n) const { return End(n) - Begin(n); }
};

}  // namespace prunelab
