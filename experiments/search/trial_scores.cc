#include "experiments/search/trial_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/records/records.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

TrialScore Lost() { return {-std::numeric_limits<double>::infinity(), std::nullopt}; }

TrialScore FinalScore(const RunResult& result, const Search& search) {
  const Measures& measures = result.measures;
  TrialScore score;
  if (measures.has_fine_tuned_validation_top1()) {
    score.validation_top1 = measures.fine_tuned_validation_top1();
  } else if (measures.has_removed_validation_top1()) {
    score.validation_top1 = measures.removed_validation_top1();
  } else if (measures.has_validation_top1()) {
    score.validation_top1 = measures.validation_top1();
  } else {
    return Lost();
  }
  const auto share = [](int64_t left, int64_t dense) { return static_cast<double>(left) / static_cast<double>(dense); };
  if (search.target().has_macs()) {
    score.cost = share(measures.has_physical_macs() ? measures.physical_macs() : measures.live_macs(), measures.macs());
  } else if (search.target().has_parameters()) {
    score.cost = share(measures.has_physical_parameters() ? measures.physical_parameters() : measures.live_parameters(),
                       measures.parameters());
  }
  return score;
}

}  // namespace

bool TrialScore::lost() const { return !std::isfinite(validation_top1); }

AshaReplay TrialScores::Replay() {
  AshaPlan plan;
  plan.trials = search_.trials();
  plan.reduction = search_.reduction();
  plan.parallel = search_.parallel();
  plan.rungs = rungs_;
  return ReplayAsha(plan, [this](const AshaJob& job) -> std::optional<double> {
    const std::optional<TrialScore> score = Of(job);
    if (!score) return std::nullopt;
    return score->validation_top1;
  });
}

int64_t TrialScores::EpochsOf(const AshaJob& job) const {
  const auto rung = static_cast<size_t>(job.rung);
  return rungs_[rung] - (rung == 0 ? 0 : rungs_[rung - 1]);
}

std::optional<TrialScore> TrialScores::Of(const AshaJob& job) {
  TrialScore mean;
  const size_t seeds = runs_[static_cast<size_t>(job.trial)].size();
  for (size_t seed = 0; seed < seeds; ++seed) {
    const std::optional<TrialScore> one = OfRun(job, seed);
    if (!one) return std::nullopt;
    mean.validation_top1 += one->validation_top1 / static_cast<double>(seeds);
    if (one->cost) mean.cost = std::max(mean.cost.value_or(0), *one->cost);
  }
  return mean;
}

std::optional<TrialScore> TrialScores::OfRun(const AshaJob& job, size_t seed) {
  const auto key = std::make_pair(std::make_pair(job.trial, job.rung), seed);
  if (const auto found = known_.find(key); found != known_.end()) return found->second;
  const TrialRun& run = runs_[static_cast<size_t>(job.trial)][seed];
  const auto rung = static_cast<size_t>(job.rung);
  const bool last = rung + 1 == rungs_.size();
  absl::StatusOr<RunResult> result = ReadResult(run.folder);
  if (result.ok() && !run.run_id.empty() && result->run_id != run.run_id) result = absl::NotFoundError("another run");
  const bool ended = run.failed || result.ok();
  std::optional<TrialScore> score;
  if (last) {
    if (result.ok() && result->status == "done") score = FinalScore(*result, search_);
  } else {
    const std::vector<std::string> records =
        run.run_id.empty() || result.ok() ? WholeLines(ReadFile(JoinPath(run.folder, "epochs.jsonl")).value_or(""))
                                          : certain_(run, rungs_[rung]);
    if (static_cast<int64_t>(records.size()) >= rungs_[rung]) {
      const absl::StatusOr<EpochRecord> record = ParseEpochLine(records[static_cast<size_t>(rungs_[rung]) - 1]);
      const bool measured = record.ok() && record->measures.has_validation_top1();
      score = measured ? TrialScore{record->measures.validation_top1(), std::nullopt} : Lost();
    }
  }
  if (!score && ended) score = Lost();
  if (score) known_.emplace(key, *score);
  return score;
}

void TrialScores::SetFailed(size_t trial, size_t seed) { runs_[trial][seed].failed = true; }

double TrialScores::Seconds() const {
  double seconds = 0;
  for (const std::vector<TrialRun>& trial : runs_) {
    for (const TrialRun& run : trial) {
      RunResult timed;
      AddTiming(run.folder, timed);
      if (timed.measures.has_seconds()) seconds += timed.measures.seconds();
    }
  }
  return seconds;
}

}  // namespace prunelab
