// One run of an ablation in its folder (docs/results.md): trained from where its checkpoint left it, else from the
// start. Killed at any moment it can be called again and ends with the same files, byte for byte, but for times.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"
#include "experiments/records/records.h"
#include "ml/data/dataset.h"
#include "ml/execution/checkpoint.h"
#include "ml/network/network.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

// In a run's folder: the file that the process which trains it has locked.
inline constexpr char kRunLock[] = ".lock";

struct RunRequest {
  std::string folder;  // <output>/<arm>/<seed>
  std::string arm;
  int64_t seed = 0;
  RunConfig config;    // an Arm's
  std::string run_id;  // FullRunId
  std::string device;  // cpu or cuda
  int64_t threads = 1;
  std::string code_revision;  // for provenance.json
  // Where the config has `from_scratch`: the run whose shape this one has.
  std::string source_folder, source_run_id;
};

struct RunProgress {
  int64_t epoch = 0;  // under way, from 0
  int64_t epochs = 0;
  int64_t iteration = 0;  // done in it
  int64_t iterations_per_epoch = 0;
  int64_t images = 0;               // trained by this call so far
  int64_t images_left = 0;          // of the run
  std::optional<double> test_top1;  // of the last evaluation
};

struct RunHooks {
  std::function<void(const RunProgress&)> on_progress;  // after each step; may be empty
  std::function<bool()> stop;                           // asked after each step; may be empty
  std::function<void(const std::string&)> on_warning;   // e.g. a damaged checkpoint that was passed over; may be empty
};

// What `config.initial_weights` names; nothing and "" where it names none.
struct InitialWeights {
  std::optional<Safetensors> tensors;  // as the file has them
  std::string digest;                  // SHA-256 of the file
};

// Errors: the file cannot be read, or is no safetensors file; NotFound if it is not there.
absl::StatusOr<InitialWeights> ReadInitialWeights(const RunConfig& config);

// What of the file the config takes for the network, which is all but what it starts afresh. Errors: TakeWeights'.
absl::StatusOr<Weights> TakeInitialWeights(const RunConfig& config, const Safetensors& file,
                                           const NetworkInfo& network);

// A run's identity: RunId with the digest of its initial weights, and the identity of the run whose shape it has.
std::string FullRunId(const RunConfig& config, int64_t seed, absl::string_view data_fingerprint,
                      absl::string_view weights_digest, absl::string_view source_run_id = "");

// Threads for training steps of `macs` multiply-accumulates each (forward): `threads`, but one where a step is so small
// that threads would wait for each other longer than they work.
int64_t ThreadsForWork(int64_t macs, int64_t threads);

// Trains the run, or goes on with it, in `request.folder`, which is there. Errors: the file system's (then the run can
// go on later from its last checkpoint); Cancelled when `hooks.stop` said so, with a checkpoint written; Unavailable if
// another process trains this run; FailedPrecondition if data or weights are not those of `request.run_id`, or the
// folder holds the finished result of another run. Where this run's own result is there by now, it is returned, and
// nothing is trained. What the training itself refuses is a result with the status "failed".
absl::StatusOr<RunResult> TrainRun(const RunRequest& request, const Dataset& dataset, const RunHooks& hooks);

}  // namespace prunelab
