#include "ml/compression/goal.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compressed_model.h"
#include "ml/execution/checkpoint.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

double Tolerance(const PruningGoal& goal) { return IsMeasured(goal) ? kMeasuredTolerance : kCountedTolerance; }

class Search {
 public:
  Search(const PruningGoal& goal, const WeightedNetwork& dense, int64_t layers, const RemovalAt& removal,
         const NetworkTimer& timer, const std::function<void(const TriedRates&)>& on_tried)
      : goal_(goal), dense_(dense), layers_(layers), removal_(removal), timer_(timer), on_tried_(on_tried) {}

  absl::StatusOr<MetGoal> Run() {
    PRUNELAB_RETURN_IF_ERROR(Bracket());
    // Neighbours of a busy machine may mislead a bisection by times; then it is done again around what it found.
    for (int attempt = 0; bracketed_ && attempt < (IsMeasured(goal_) ? kAttempts : 1); ++attempt) {
      if (attempt > 0) {
        low_ = std::max(0.0, best_.rates.rate - kNarrower);
        high_ = std::min(kHighest, best_.rates.rate + kNarrower);
        fresh_ = true;
      }
      PRUNELAB_RETURN_IF_ERROR(Bisect());
      if (!IsMeasured(goal_)) break;
      PRUNELAB_ASSIGN_OR_RETURN(best_.share, ShareOf(goal_, dense_, best_.removed, timer_));
      if (Within(best_.share)) break;
    }
    best_.tried = std::move(tried_);
    if (Within(best_.share)) return std::move(best_);
    return NotReached();
  }

 private:
  static constexpr double kHighest = 0.999;
  static constexpr int kAttempts = 3;
  static constexpr double kNarrower = 0.1;  // on either side
  // Near enough to end the search, as a share of the goal: times say no more, and counts cost little.
  double NearEnough() const { return IsMeasured(goal_) ? 0.015 : 0.001; }
  // The finest interval of rates: less than a filter of the largest networks.
  double Finest() const { return IsMeasured(goal_) ? 1e-3 : 2e-6; }

  double goal_share() const { return GoalShare(goal_); }
  double Distance(double share) const { return std::abs(share / goal_share() - 1); }
  bool Within(double share) const { return Distance(share) <= Tolerance(goal_); }
  bool AboveGoal() const { return tried_.back().share > goal_share(); }

  // Keeps the nearest; of times the nearest of this attempt, because an earlier one has not been confirmed.
  absl::Status Try(const Rates& rates) {
    PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork removed, removal_(rates));
    PRUNELAB_ASSIGN_OR_RETURN(const double share, ShareOf(goal_, dense_, removed, timer_));
    tried_.push_back({rates, share});
    if (on_tried_) on_tried_(tried_.back());
    if (!std::exchange(fresh_, false) && Distance(share) >= Distance(best_.share)) return absl::OkStatus();
    best_.rates = rates;
    best_.share = share;
    best_.removed = std::move(removed);
    return absl::OkStatus();
  }

  // Rates between which the goal lies. Counts fall with the rate, so that the highest one tells whether it can be
  // reached. Times do not: a layer with a single channel may take longer than one with eight.
  absl::Status Bracket() {
    low_ = 0;
    for (const double rate :
         IsMeasured(goal_) ? std::vector<double>{0.25, 0.5, 0.75, 0.9, kHighest} : std::vector<double>{kHighest}) {
      PRUNELAB_RETURN_IF_ERROR(Try({rate, 0, 0}));
      bracketed_ = tried_.back().share <= goal_share() * (1 + Tolerance(goal_));
      (bracketed_ ? high_ : low_) = rate;
      if (bracketed_) break;
    }
    return absl::OkStatus();
  }

  absl::Status Bisect() {
    double low = low_, high = high_;
    while (high - low > Finest()) {
      // Six digits, so that a person can write the rate down.
      PRUNELAB_RETURN_IF_ERROR(Try({std::round((low + high) / 2 * 1e6) / 1e6, 0, 0}));
      if (Distance(tried_.back().share) <= NearEnough()) return absl::OkStatus();
      (AboveGoal() ? low : high) = tried_.back().rates.rate;
    }
    return Within(best_.share) ? absl::OkStatus() : BisectLayers(low, high);
  }

  // How many of the layers get the higher rate.
  absl::Status BisectLayers(double low, double high) {
    int64_t fewest = 0, most = layers_;
    while (most - fewest > 1) {
      PRUNELAB_RETURN_IF_ERROR(Try({low, high, (fewest + most) / 2}));
      if (Distance(tried_.back().share) <= NearEnough()) break;
      (AboveGoal() ? fewest : most) = tried_.back().rates.layers_at_higher;
    }
    return absl::OkStatus();
  }

  absl::Status NotReached() const {
    const TriedRates *above = nullptr, *below = nullptr;  // the nearest on either side, of equal ones the last
    for (const TriedRates& each : best_.tried) {
      const TriedRates*& side = each.share > goal_share() ? above : below;
      if (side == nullptr || Distance(each.share) <= Distance(side->share)) side = &each;
    }
    const auto text = [](const TriedRates& each) {
      return absl::StrFormat("%.4g at %s", each.share, Text(each.rates));
    };
    const std::string asked = absl::StrFormat("%s is %.4g, and ", GoalField(goal_), goal_share());
    if (below == nullptr) {
      return absl::OutOfRangeError(absl::StrCat(asked, "the least share of the dense network's ", GoalName(goal_),
                                                " that this removal leaves is ", text(*above),
                                                "; give a higher goal or another way to prune"));
    }
    const std::string sides =
        absl::StrCat(above == nullptr ? std::string("1 at rate 0") : text(*above), ", ", text(*below));
    if (IsMeasured(goal_)) {
      return absl::OutOfRangeError(absl::StrCat(
          asked, "of the dense network's ", GoalName(goal_), " the network found took ",
          absl::StrFormat("%.4g", best_.share), " when it was measured again. The nearest on either side were ", sides,
          ": if they are far apart, this engine is fast at some widths only, and rounding to multiples may help; if "
          "not, a quieter machine or more time for each measurement"));
    }
    return absl::OutOfRangeError(
        absl::StrCat(asked, "shares of the dense network's ", GoalName(goal_), " jump past it: ", sides));
  }

  const PruningGoal& goal_;
  const WeightedNetwork& dense_;
  const int64_t layers_;
  const RemovalAt& removal_;
  const NetworkTimer& timer_;
  const std::function<void(const TriedRates&)>& on_tried_;
  bool bracketed_ = false, fresh_ = true;
  double low_ = 0, high_ = 0;
  MetGoal best_;
  std::vector<TriedRates> tried_;
};

}  // namespace

int64_t FileBytes(const WeightedNetwork& network) {
  return static_cast<int64_t>(SerializeSafetensors(ModelToSafetensors(ToModel(network, at::kCPU))).size());
}

absl::StatusOr<double> ShareOf(const PruningGoal& goal, const WeightedNetwork& dense, const WeightedNetwork& removed,
                               const NetworkTimer& timer) {
  const auto share = [](int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); };
  switch (goal.goal_case()) {
    case PruningGoal::kMacs:
      return share(removed.Info().MacCount(), dense.Info().MacCount());
    case PruningGoal::kParameters: {
      const auto parameters = [](const NetworkInfo& info) {
        return info.ParameterCount() + info.StoredConstantCount();
      };
      return share(parameters(removed.Info()), parameters(dense.Info()));
    }
    case PruningGoal::kFileBytes:
      return share(FileBytes(removed), FileBytes(dense));
    case PruningGoal::kLatency: {
      PRUNELAB_ASSIGN_OR_RETURN(const std::vector<Latency> latencies, timer({&dense, &removed}));
      return latencies[1].median / latencies[0].median;
    }
    case PruningGoal::GOAL_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("no goal");
}

WeightedNetwork WithLayersOf(const WeightedNetwork& higher, int64_t layers, WeightedNetwork lower) {
  const NetworkInfo info = lower.Info();
  const std::vector<ConvInfo>& convs = info.convs();
  std::set<std::string> taken;
  for (int64_t k = 0; k < std::min<int64_t>(layers, convs.size()); ++k) taken.insert(convs[k].node);
  for (const ParameterSpec& parameter : info.parameters()) {
    if (taken.count(parameter.node) > 0) lower.tensors[parameter.name] = higher.tensors.at(parameter.name);
  }
  return lower;
}

std::string Text(const Rates& rates) {
  if (rates.layers_at_higher == 0) return absl::StrFormat("rate %.6g", rates.rate);
  return absl::StrFormat("rate %.6g in the first %d layers and %.6g in the others", rates.higher_rate,
                         rates.layers_at_higher, rates.rate);
}

absl::StatusOr<MetGoal> MeetGoal(const PruningGoal& goal, const WeightedNetwork& dense, int64_t layers,
                                 const RemovalAt& removal, const NetworkTimer& timer,
                                 const std::function<void(const TriedRates&)>& on_tried) {
  return Search(goal, dense, layers, removal, timer, on_tried).Run();
}

}  // namespace prunelab
