// The folder of a run that is being trained: its records as they grow, its checkpoints, and the networks that later
// phases rewind to.
//
//   RunInFolder run(request, hooks);
//   PRUNELAB_RETURN_IF_ERROR(run.TakeUp());
//   PRUNELAB_RETURN_IF_ERROR(run.LoadState(trainer));
//   ...
//   PRUNELAB_RETURN_IF_ERROR(run.AddRecord(record));  // after each epoch
//   PRUNELAB_RETURN_IF_ERROR(run.Checkpoint(trainer));
//
// Of several processes that train a run together, the first keeps the folder. The others get the checkpoint from it,
// and write nothing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/config/phases.h"
#include "experiments/runs/run.h"
#include "ml/base/file_lock.h"
#include "ml/distributed/ranks.h"
#include "ml/training/trainer.h"

namespace prunelab {

// The lock on a run's folder; only its holder works in the folder. A worker dies with its coordinator, but only after
// the write that it is in the middle of, which may take a slow disk some time; a process that resumes the run waits for
// it. Unavailable if the lock is held for longer: then another process trains the run.
absl::StatusOr<FileLock> TakeRun(const std::string& path, const RunHooks& hooks);

// A copy of the network's tensors and masks.
Safetensors NetworkState(const Model& model);

class RunInFolder {
 public:
  // All must outlive this. `ranks`: those that train the run, or null.
  RunInFolder(const RunRequest& request, const RunHooks& hooks, Ranks* ranks)
      : request_(request), hooks_(hooks), ranks_(ranks), folder_(request.folder()) {}

  // Whether it is this process that keeps the folder.
  bool keeps_files() const { return ranks_ == nullptr || ranks_->first(); }

  // Where the run's files are: the request's folder, or a folder in it while another run is trained further.
  const std::string& folder() const { return folder_; }
  void set_folder(const std::string& folder) { folder_ = folder; }
  std::string Path(const char* name) const;

  void Warn(const std::string& text) const;

  // Finds the run's last whole checkpoint, or removes what an attempt without one left.
  absl::Status TakeUp();

  // The phase that is trained.
  size_t phase() const { return phase_; }
  void set_phase(size_t phase) { phase_ = phase; }
  // Brings the phase's trainer to where the checkpoint left it, if that is of this phase.
  absl::Status LoadState(Trainer& trainer);

  // Keeps the network as it is after `epochs` of the run, if a later phase rewinds to it.
  void KeepForRewinding(const std::vector<RunPhase>& phases, int64_t epochs, const Model& model);
  const Safetensors& kept(int64_t epochs) const { return kept_.at(epochs); }

  // Appends the epoch to epochs.jsonl, and its time to timing.jsonl.
  absl::Status AddRecord(EpochRecord record);
  // Appends to timing.jsonl what this process trained of an epoch that it is stopped in.
  absl::Status AddTimingOfPart(int64_t epoch);

  absl::Status Checkpoint(const Trainer& trainer);
  double seconds_since_checkpoint() const;

  void CountImages(int64_t images);
  int64_t images() const { return images_; }  // that this process trained
  const std::vector<EpochRecord>& records() const { return records_; }
  const std::optional<double>& last_test_top1() const { return last_test_top1_; }  // of the last evaluation

 private:
  std::string CheckpointName() const { return Path("checkpoint"); }
  // Takes what Checkpoint added to the trainer's state out of it.
  absl::Status TakeOutPhases(Safetensors& state);
  // The part of the epoch that this process trained since its last line in timing.jsonl.
  absl::Status AddTiming(int64_t epoch);
  void Keep(EpochRecord record);

  const RunRequest& request_;
  const RunHooks& hooks_;
  Ranks* const ranks_;
  std::string folder_;
  std::vector<std::string> lines_;  // of epochs.jsonl
  std::vector<EpochRecord> records_;
  std::optional<Safetensors> state_;  // a trainer's, from the checkpoint
  size_t phase_ = 0;
  std::map<int64_t, Safetensors> kept_;  // networks to rewind to, by epochs done
  std::optional<double> last_test_top1_;
  double checkpoint_time_ = 0, epoch_start_ = 0;
  int64_t epoch_images_ = 0, images_ = 0;
};

}  // namespace prunelab
