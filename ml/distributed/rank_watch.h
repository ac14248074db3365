// Shows that this rank is alive, and looks whether the others are (ranks.h).
//
// A rank writes a counter to the store once a second and reads the others'. One whose counter stands still is lost. A
// process of the same machine is also looked for among its processes, so that one that was killed is found within a
// second. A third case is a store that does not answer: then it is the machine that it is on, or the way to it, that is
// lost.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

namespace prunelab {

class RankWatch {
 public:
  // `store`: a connection of its own, because a call may block. `who`: each rank's description of itself
  // (RankWatch::Self). `on_lost` is called once, from a thread of this object, with the reason.
  RankWatch(c10::intrusive_ptr<c10d::Store> store, std::string store_name, int64_t rank, std::vector<std::string> who,
            double silence_seconds, std::function<void(const std::string&)> on_lost);
  ~RankWatch();

  // How this process describes itself to the others. `store_address`: how it reaches the store's machine.
  static std::string Self(const std::string& store_address);
  static std::string StoreAddressIn(const std::string& description);
  // "rank 2 (process 71 on node3)".
  std::string NameOf(int64_t rank) const;

  // To be written to the store, where all ranks read it: this rank is done, or ends for this reason.
  static std::string LeftKey(int64_t rank);
  static constexpr char kReasonKey[] = "reason";

  // The first call before the ranks have met.
  static void ShowAlive(c10d::Store& store, int64_t rank);

 private:
  void Beat();
  void Guard();
  void End(const std::string& why);
  // Looks at the other ranks once.
  void LookAtOthers(double seconds);
  std::string ReasonGiven();
  bool IsGone(int64_t rank) const;

  const c10::intrusive_ptr<c10d::Store> store_;
  const std::string store_name_;
  const int64_t rank_;
  const std::vector<std::string> who_;
  const double silence_seconds_;
  const std::function<void(const std::string&)> on_lost_;
  std::vector<std::string> beats_;         // that were read last
  std::vector<double> silent_;             // seconds since each changed
  std::atomic<double> unanswered_{0};      // seconds since the store last answered
  std::atomic<bool> ending_{false};        // Beat and what it says
  std::atomic<bool> guard_ending_{false};  // Guard; after the former, which it watches to its end
  std::once_flag ended_;
  std::thread beat_, guard_;
};

}  // namespace prunelab
