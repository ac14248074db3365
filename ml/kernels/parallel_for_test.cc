#include "ml/kernels/parallel_for.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace prunelab {
namespace {

class ParallelForTest : public ::testing::Test {
 protected:
  ~ParallelForTest() override { at::set_num_threads(threads_); }
  const int threads_ = at::get_num_threads();
};

TEST_F(ParallelForTest, DoesEachOnce) {
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    for (const int64_t count : {0, 1, 2, 7}) {
      std::vector<int> calls(count);
      ParallelFor(count, [&](int64_t i) { ++calls[i]; });
      EXPECT_EQ(calls, std::vector<int>(count, 1));
    }
  }
}

TEST_F(ParallelForTest, ReallyUsesTwoThreads) {
  at::set_num_threads(2);
  std::atomic<int> started{0};
  std::vector<std::thread::id> threads(2);
  // Each call waits for the other to start, which a single thread could not do (it gives up after a while).
  ParallelFor(2, [&](int64_t i) {
    threads[i] = std::this_thread::get_id();
    ++started;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (started < 2 && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
  });
  EXPECT_NE(threads[0], threads[1]);
}

TEST_F(ParallelForTest, CallsInsideStayOnTheirThread) {
  at::set_num_threads(2);
  std::vector<int> inside(4);
  ParallelFor(4, [&](int64_t i) { inside[i] = at::in_parallel_region(); });
  EXPECT_EQ(inside, std::vector<int>(4, 1));
}

TEST_F(ParallelForTest, ThrowsWhatWasThrown) {
  at::set_num_threads(2);
  EXPECT_THROW(ParallelFor(4,
                           [](int64_t i) {
                             if (i == 3) throw std::runtime_error("three");
                           }),
               std::runtime_error);
}

}  // namespace
}  // namespace prunelab
