#include "experiments/sweep/search_runs.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/config/output_files.h"
#include "experiments/config/trials.h"
#include "experiments/records/records.h"
#include "experiments/runs/run_checkpoint.h"
#include "experiments/search/asha.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

TrialScores ScoresOf(const LoadedAblation& loaded, const std::vector<PlannedRun>& runs) {
  const Search& search = loaded.ablation.search();
  const size_t seeds = runs.size() / static_cast<size_t>(search.trials());
  std::vector<std::vector<TrialRun>> trials(static_cast<size_t>(search.trials()));
  for (size_t i = 0; i < runs.size(); ++i) trials[i / seeds].push_back({runs[i].folder, runs[i].run_id, false});
  // A checkpoint says which run it is of, and has its records. It is written after them, so where they are too few, a
  // large file need not be read.
  const auto certain = [](const TrialRun& run, int64_t epochs) {
    const std::vector<std::string> lines = WholeLines(ReadFile(JoinPath(run.folder, "epochs.jsonl")).value_or(""));
    if (static_cast<int64_t>(lines.size()) < epochs) return lines;
    std::string damage;
    std::optional<RunCheckpoint> checkpoint = FindRunState(run.folder, run.run_id, damage);
    return checkpoint ? std::move(checkpoint->records) : std::vector<std::string>();
  };
  return TrialScores(search, Rungs(search, loaded.arms.front().config.training().epochs()), std::move(trials), certain);
}

}  // namespace

SearchRuns::SearchRuns(const LoadedAblation& loaded, const RunnerOptions& options, const std::vector<PlannedRun>& runs)
    : ablation_(&loaded.ablation),
      output_(options.output),
      seeds_(runs.size() / static_cast<size_t>(loaded.ablation.search().trials())),
      images_per_epoch_(runs.front().images / static_cast<double>(runs.front().arm->config.training().epochs())),
      scores_(ScoresOf(loaded, runs)),
      epochs_(runs.size(), 0) {}

std::vector<size_t> SearchRuns::TakeWanted(const std::set<size_t>& pending) {
  std::vector<size_t> wanted;
  const Search& search = scores_.search();
  hours_are_over_ = search.has_hours() && scores_.Seconds() >= 3600 * search.hours();
  if (hours_are_over_) return wanted;
  const AshaReplay replay = scores_.Replay();
  for (const AshaJob& job : replay.open) {
    const int64_t epochs = scores_.rungs()[static_cast<size_t>(job.rung)];
    for (size_t seed = 0; seed < seeds_; ++seed) {
      const size_t run = static_cast<size_t>(job.trial) * seeds_ + seed;
      if (pending.count(run) || scores_.OfRun(job, seed)) continue;
      epochs_[run] = epochs;
      wanted.push_back(run);
    }
  }
  return wanted;
}

double SearchRuns::images(size_t run) const {
  return images_per_epoch_ * static_cast<double>(scores_.EpochsOf(JobOf(run, epochs_[run])));
}

double SearchRuns::images_left() const {
  TrialScores scores = scores_;
  const int64_t left = ExpectedEpochs(scores_.search(), scores_.rungs().back()) - OutcomeOf(scores).epochs;
  return images_per_epoch_ * static_cast<double>(seeds_) * static_cast<double>(std::max<int64_t>(0, left));
}

std::optional<TrialScore> SearchRuns::Score(size_t run) {
  if (epochs_[run] == 0) return std::nullopt;
  return scores_.OfRun(JobOf(run, epochs_[run]), run % seeds_);
}

std::string SearchRuns::ScoreText(size_t run, const TrialScore& score) const {
  const std::string place = absl::StrCat("epoch ", epochs_[run], " of ", scores_.rungs().back(), ": ");
  return score.lost() ? place + "lost" : absl::StrFormat("%svalidation %.2f %%", place, 100 * score.validation_top1);
}

void SearchRuns::SetFailed(size_t run) { scores_.SetFailed(run / seeds_, run % seeds_); }

absl::Status SearchRuns::Write() {
  const SearchOutcome outcome = Outcome();
  PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(JoinPath(output_, kSearchFile), SearchJson(outcome)));
  const std::string best = JoinPath(output_, kBestFile);
  if (!outcome.best || (!outcome.over && !hours_are_over_)) {
    // Of fewer trials, or of other data.
    if (unlink(best.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
    return absl::PermissionDeniedError(absl::StrCat(best, ": cannot be removed: ", std::strerror(errno)));
  }
  return WriteFileAtomically(best, BestText(*ablation_, outcome));
}

AshaJob SearchRuns::JobOf(size_t run, int64_t epochs) const {
  const std::vector<int64_t>& rungs = scores_.rungs();
  const auto rung = std::find(rungs.begin(), rungs.end(), epochs) - rungs.begin();
  return {static_cast<int64_t>(run / seeds_), static_cast<int64_t>(rung)};
}

}  // namespace prunelab
