// Asynchronous successive halving, ASHA: algorithm 2 of Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht and
// Talwalkar, "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020.
//
// Which trial is trained next depends on which results there are at that moment, and so on how fast machines happen to
// be. Here the moments are those of `parallel` machines that train an epoch of any trial in one unit of time: decisions
// follow from the scores alone. Whoever knows the scores can replay all of them, so that a search needs no state of its
// own, and goes on the same way after it was killed, on another machine, or on several.
//
//   const AshaReplay replay = ReplayAsha(plan, score);
//   for (const AshaJob& job : replay.open) ...  // can be trained now
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace prunelab {

struct AshaPlan {
  int64_t trials = 0;          // at least 1
  int64_t reduction = 3;       // at least 2
  int64_t parallel = 1;        // at least 1
  std::vector<int64_t> rungs;  // epochs, ascending, at least one
};

// A trial's training from the rung before to this one, both counted from 0.
struct AshaJob {
  int64_t trial = 0, rung = 0;
  bool operator==(const AshaJob& other) const { return trial == other.trial && rung == other.rung; }
};

struct AshaReplay {
  std::vector<AshaJob> jobs;  // in the order in which they were given out
  // Those of them that have no score yet and are in progress at the moment that is reached; they can be trained in any
  // order, and at once. Empty: the search is over.
  std::vector<AshaJob> open;
};

// What a trial has come to at a rung, the higher the better; minus infinity: it is lost, and never goes on; no value:
// not known yet.
using AshaScore = std::function<std::optional<double>(const AshaJob&)>;

// All jobs that the known scores lead to. Of equal scores the smaller trial's is better.
AshaReplay ReplayAsha(const AshaPlan& plan, const AshaScore& score);

}  // namespace prunelab
