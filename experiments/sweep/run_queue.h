// The runs that wait to be trained: seed by seed, so that the results at any moment are nearly balanced over the arms.
// A run that another process trains, e.g. for another shard, waits outside and is looked at again later.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace prunelab {

class RunQueue {
 public:
  // Between looks at a run that another process trains.
  static constexpr std::chrono::milliseconds kLookPeriod{200};

  // `order`: the runs, by their place in a list, in the order in which they are to be trained.
  explicit RunQueue(const std::vector<size_t>& order) : waiting_(order.begin(), order.end()) {}

  // No run waits, here or outside.
  bool empty() const { return waiting_.empty() && elsewhere_.empty(); }
  bool none_here() const { return waiting_.empty(); }

  // Takes the first run that waits here and is `ready`; no value where none is.
  std::optional<size_t> Take(const std::function<bool(size_t)>& ready);
  // Makes the run the last one.
  void Add(size_t run) { waiting_.push_back(run); }
  // Makes the run the first one.
  void PutFirst(size_t run) { waiting_.push_front(run); }

  // Moves a run that was taken to the outside, because another process trains it. Returns true once for a run, when
  // that process has had it long enough to be reported: a process that is about to die holds its lock until the end of
  // its last write.
  bool LeaveToOthers(size_t run);
  // The run is no longer outside: no other process trains it.
  void Return(size_t run) { elsewhere_.erase(run); }
  // Moves runs from the outside to the front if it is time to look at them again.
  void LookElsewhere();

  void Clear();

 private:
  using Clock = std::chrono::steady_clock;
  struct Elsewhere {
    Clock::time_point since, next_look;
    bool said = false;
    bool is_waiting = false;  // it will be tried again and is in waiting_, too
  };
  std::deque<size_t> waiting_;
  std::map<size_t, Elsewhere> elsewhere_;
};

}  // namespace prunelab
