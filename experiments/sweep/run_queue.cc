#include "experiments/sweep/run_queue.h"

#include <algorithm>

namespace prunelab {
namespace {

// For how long the lock of a run may be held by a process that is about to die.
constexpr std::chrono::seconds kDyingTime(3);

}  // namespace

std::optional<size_t> RunQueue::Take(const std::function<bool(size_t)>& ready) {
  const auto next = std::find_if(waiting_.begin(), waiting_.end(), ready);
  if (next == waiting_.end()) return std::nullopt;
  const size_t run = *next;
  waiting_.erase(next);
  return run;
}

bool RunQueue::LeaveToOthers(size_t run) {
  const auto now = Clock::now();
  Elsewhere& elsewhere = elsewhere_.try_emplace(run, Elsewhere{now, now}).first->second;
  elsewhere.next_look = now + kLookPeriod;
  elsewhere.is_waiting = false;
  if (elsewhere.said || now - elsewhere.since < kDyingTime) return false;
  elsewhere.said = true;
  return true;
}

void RunQueue::LookElsewhere() {
  for (auto& [run, elsewhere] : elsewhere_) {
    if (elsewhere.is_waiting || Clock::now() < elsewhere.next_look) continue;
    elsewhere.is_waiting = true;
    waiting_.push_front(run);
  }
}

void RunQueue::Clear() {
  waiting_.clear();
  elsewhere_.clear();
}

}  // namespace prunelab
