// Shares work out to the threads that LibTorch computes with.
//
//   ParallelFor(groups.size(), [&](int64_t g) { values[g] = Value(groups[g]); });
//
// at::parallel_for is a plain loop, without a warning, wherever its header is compiled without OpenMP. This one is
// always compiled with it.
#pragma once

#include <cstdint>
#include <functional>

namespace prunelab {

// Calls work(0), ..., work(count - 1), each once and each by one thread: LibTorch's calls inside it run on that thread
// alone. Thread t of T takes t, t + T, t + 2T, ... The threads meet once, at the end. Thread-local state of the caller,
// such as a no-gradient scope, does not reach the other threads. The first exception is thrown again.
void ParallelFor(int64_t count, const std::function<void(int64_t)>& work);

}  // namespace prunelab
