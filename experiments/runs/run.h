// One run of an ablation in its folder (docs/results.md). It is resumed from its checkpoint, else trained from the
// start. If it is killed at any moment, calling it again ends with the same files, byte for byte, except for times.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/records/records.h"
#include "experiments/runs/run.pb.h"
#include "ml/data/dataset.h"
#include "ml/distributed/ranks.h"

namespace prunelab {

// In a run's folder: the file that the training process has locked.
inline constexpr char kRunLock[] = ".lock";

struct RunHooks {
  std::function<void(const RunProgress&)> on_progress;  // after each step; may be empty
  std::function<bool()> stop;                           // called after each step; may be empty
  std::function<void(const std::string&)> on_warning;   // e.g. a damaged checkpoint that was skipped; may be empty
};

// The number of threads for training steps of `macs` multiply-accumulates each (forward): `threads`, but one if a step
// is so small that threads would wait for each other longer than they work.
int64_t ThreadsForWork(int64_t macs, int64_t threads);

// With several ranks (JoinRanks), each process calls this, and the first one's result counts: the others' is of no use.
// They have left when it returns. One that loses another ends itself (ml/distributed/ranks.h).
//
// Trains or resumes the run in `request.folder()`, which must exist. Errors: the file system's (then the run can be
// resumed later from its last checkpoint); Cancelled if `hooks.stop` returned true, or the run has come to where the
// request pauses it, with a checkpoint written;
// Aborted if images cannot be read now; Unavailable if another process trains this run; FailedPrecondition if data,
// weights or teacher are not those of `request.run_id()`, or the folder contains the finished result of another run. If
// this run's own result exists by now, it is returned, and nothing is trained. What the training itself refuses is a
// result with the status "failed".
absl::StatusOr<RunResult> TrainRun(const RunRequest& request, const Dataset& dataset, const RunHooks& hooks,
                                   Ranks* ranks = nullptr);

// Meets the other processes that `request` names; null: it names none. To be called before anything else, because each
// rank shows that it is alive from then on.
absl::StatusOr<std::unique_ptr<Ranks>> JoinRanks(const RunRequest& request);

}  // namespace prunelab
