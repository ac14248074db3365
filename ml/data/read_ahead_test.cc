#include "ml/data/read_ahead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace prunelab {
namespace {

TEST(ReadAheadTest, DoesEveryItemOnce) {
  for (const int64_t threads : {1, 2, 5}) {
    ReadAhead ahead(threads);
    std::vector<std::vector<std::atomic<int>>> done(7);
    std::vector<std::shared_ptr<ReadAhead::Task>> tasks;
    for (size_t t = 0; t < done.size(); ++t) {
      done[t] = std::vector<std::atomic<int>>(t * 13);
      tasks.push_back(ahead.Start(static_cast<int64_t>(t) * 13, [&done, t](int64_t i) {
        ++done[t][i];
        return absl::OkStatus();
      }));
    }
    for (size_t t = done.size(); t-- > 0;) {  // also in another order than that of their start
      EXPECT_TRUE(ahead.Finish(*tasks[t]).ok());
      for (const std::atomic<int>& count : done[t]) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ReadAheadTest, TheFirstItemsErrorIsGiven) {
  ReadAhead ahead(3);
  for (int round = 0; round < 20; ++round) {
    const auto task = ahead.Start(40, [](int64_t i) {
      if (i % 10 != 7) return absl::OkStatus();
      std::this_thread::sleep_for(std::chrono::microseconds(i == 7 ? 500 : 0));
      return absl::UnavailableError(std::to_string(i));
    });
    EXPECT_EQ(ahead.Finish(*task).message(), "7");
  }
}

TEST(ReadAheadTest, WorksWhileNobodyWaits) {
  ReadAhead ahead(2);
  std::atomic<int> done{0};
  const auto task = ahead.Start(8, [&](int64_t) {
    ++done;
    return absl::OkStatus();
  });
  for (int i = 0; i < 10000 && done < 8; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(done, 8);
  EXPECT_TRUE(ahead.Finish(*task).ok());
}

TEST(ReadAheadTest, ClearAndTheEndForgetWhatIsLeft) {
  std::atomic<int> done{0};
  const auto slow = [&](int64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ++done;
    return absl::OkStatus();
  };
  ReadAhead ahead(2);
  ahead.Start(100000, slow);
  ahead.Clear();
  const int after_clear = done;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(done, after_clear);
  EXPECT_LT(after_clear, 1000);
  EXPECT_TRUE(ahead.Finish(*ahead.Start(3, slow)).ok());
  ahead.Start(100000, slow);  // its end does not wait for all of them
}

}  // namespace
}  // namespace prunelab
