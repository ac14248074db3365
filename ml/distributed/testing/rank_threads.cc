#include "ml/distributed/testing/rank_threads.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "ml/distributed/rank_store.h"

namespace prunelab {

void OnRanks(int64_t count, const std::function<void(Ranks&)>& work) {
  const absl::StatusOr<std::unique_ptr<RankStore>> store = RankStore::ServeHere();
  ASSERT_TRUE(store.ok()) << store.status();
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < count; ++rank) {
    threads.emplace_back([&, rank] {
      RankPlace place;
      place.rank = rank;
      place.ranks = count;
      place.address = "127.0.0.1";
      place.port = (*store)->port();
      place.meeting = "test/";
      const absl::StatusOr<std::unique_ptr<Ranks>> ranks = Ranks::Join(place, at::kCPU);
      ASSERT_TRUE(ranks.ok()) << ranks.status();
      work(**ranks);
      (*ranks)->Leave();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace prunelab
