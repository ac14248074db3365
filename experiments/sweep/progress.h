// Shows the progress of an ablation. On a terminal there is a line for each run in progress and one for the whole,
// which are overwritten; otherwise there is a line for each finished run, and at most every ten seconds one on those in
// progress.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "experiments/runs/run.pb.h"

namespace prunelab {

class ProgressDisplay {
 public:
  // `runs` in total, of which `done` are done; `images_to_train` for those that are not.
  ProgressDisplay(bool terminal, int64_t runs, int64_t done, double images_to_train);

  // A run in progress, by a unique name, e.g. "dynamic_l1/cov seed 3". `images` is the number of images that it has to
  // train if nothing of it is done yet.
  void Start(const std::string& name, double images);
  void Update(const std::string& name, const RunProgress& progress);
  // The run is no longer in progress; `done`: it need not be trained again.
  void End(const std::string& name, const std::string& text, bool done);
  // A line that stays, e.g. a warning.
  void Say(const std::string& text);
  // To be called now and then.
  void Refresh();

 private:
  struct InProgress {
    double start = 0, images = 0;  // `images` to train in all
    RunProgress progress;
    bool heard = false;
  };
  void Clear();
  std::string RunText(const std::string& name, const InProgress& run) const;
  std::string WholeText() const;

  const bool terminal_;
  const int64_t runs_;
  int64_t done_;
  double waiting_images_;      // of runs that have not begun
  double trained_images_ = 0;  // by runs that ended
  double start_, last_;
  int lines_ = 0;  // on the terminal, to be overwritten
  std::map<std::string, InProgress> in_progress_;
};

}  // namespace prunelab
