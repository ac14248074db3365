#include "experiments/search/asha.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

namespace prunelab {
namespace {

class Replayer {
 public:
  Replayer(const AshaPlan& plan, const AshaScore& score)
      : plan_(plan), score_(score), idle_(plan.parallel), rungs_(plan.rungs.size()) {}

  AshaReplay Run() {
    GiveOut(0);
    while (!in_progress_.empty()) {
      const Work next = *in_progress_.begin();
      const AshaJob job = replay_.jobs[next.second];
      const std::optional<double> score = score_(job);
      if (!score) break;
      in_progress_.erase(in_progress_.begin());
      rungs_[static_cast<size_t>(job.rung)].Add(*score, job.trial);
      ++idle_;
      GiveOut(next.first);
    }
    // What ends later may already be known, e.g. if its machine was faster.
    for (const Work& work : in_progress_) {
      const AshaJob& job = replay_.jobs[work.second];
      if (!score_(job)) replay_.open.push_back(job);
    }
    return std::move(replay_);
  }

 private:
  using Work = std::pair<int64_t, size_t>;   // when it ends, and its place among the jobs
  using Entry = std::pair<double, int64_t>;  // a score, negative so that the best comes first, and its trial
  struct Rung {
    std::vector<Entry> scores;  // ascending
    std::set<Entry> waiting;    // those whose trials have not gone on
    void Add(double score, int64_t trial) {
      const Entry entry(-score, trial);
      scores.insert(std::lower_bound(scores.begin(), scores.end(), entry), entry);
      waiting.insert(entry);
    }
  };

  // Lets every machine that is idle begin what there is to do.
  void GiveOut(int64_t now) {
    while (idle_ > 0) {
      const std::optional<AshaJob> job = NextJob();
      if (!job) return;
      --idle_;
      const auto rung = static_cast<size_t>(job->rung);
      const int64_t epochs = plan_.rungs[rung] - (rung == 0 ? 0 : plan_.rungs[rung - 1]);
      in_progress_.emplace(now + epochs, replay_.jobs.size());
      replay_.jobs.push_back(*job);
    }
  }

  // A trial that goes on, from the highest rung where one may, else a new one.
  std::optional<AshaJob> NextJob() {
    for (size_t rung = rungs_.size() - 1; rung-- > 0;) {
      if (const std::optional<int64_t> trial = Promoted(rungs_[rung])) {
        return AshaJob{*trial, static_cast<int64_t>(rung) + 1};
      }
    }
    if (begun_ == plan_.trials) return std::nullopt;
    return AshaJob{begun_++, 0};
  }

  // The best trial that has not gone on, if it is among the rung's best one in `reduction`.
  std::optional<int64_t> Promoted(Rung& rung) const {
    if (rung.waiting.empty()) return std::nullopt;
    const Entry best = *rung.waiting.begin();
    const auto place = std::lower_bound(rung.scores.begin(), rung.scores.end(), best) - rung.scores.begin();
    const auto most = static_cast<int64_t>(rung.scores.size()) / plan_.reduction;
    if (place >= most || best.first == std::numeric_limits<double>::infinity()) return std::nullopt;
    rung.waiting.erase(rung.waiting.begin());
    return best.second;
  }

  const AshaPlan& plan_;
  const AshaScore& score_;
  int64_t idle_, begun_ = 0;
  std::vector<Rung> rungs_;
  std::set<Work> in_progress_;
  AshaReplay replay_;
};

}  // namespace

AshaReplay ReplayAsha(const AshaPlan& plan, const AshaScore& score) { return Replayer(plan, score).Run(); }

}  // namespace prunelab
