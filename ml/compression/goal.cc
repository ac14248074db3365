#include "ml/compression/goal.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compressed_model.h"
#include "ml/execution/checkpoint.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

double Tolerance(const PruningGoal& goal) { return IsMeasured(goal) ? kMeasuredTolerance : kCountedTolerance; }

// Of what is counted.
double Cost(const PruningGoal& goal, const WeightedNetwork& network) {
  if (goal.goal_case() == PruningGoal::kFileBytes) return static_cast<double>(FileBytes(network));
  const NetworkInfo info = network.Info();
  if (goal.goal_case() == PruningGoal::kMacs) return static_cast<double>(info.MacCount());
  return static_cast<double>(info.ParameterCount() + info.StoredConstantCount());
}

absl::StatusOr<double> DenseCost(const PruningGoal& goal, const WeightedNetwork& dense) {
  const double cost = Cost(goal, dense);
  if (cost > 0) return cost;
  return FieldError(GoalField(goal), absl::StrCat("the dense network's ", GoalName(goal), " are 0"));
}

class Search {
 public:
  Search(const PruningGoal& goal, const WeightedNetwork& dense, int64_t layers, const RemovalAt& removal,
         const NetworkTimer& timer, const std::function<void(const TriedRates&)>& on_tried)
      : goal_(goal), dense_(dense), layers_(layers), removal_(removal), timer_(timer), on_tried_(on_tried) {}

  absl::StatusOr<MetGoal> Run() {
    if (!IsMeasured(goal_)) {
      PRUNELAB_ASSIGN_OR_RETURN(dense_cost_, DenseCost(goal_, dense_));
    }
    PRUNELAB_RETURN_IF_ERROR(Bracket());
    // Neighbours of a busy machine may mislead a bisection by times; then it is done again around what it found.
    for (int attempt = 0; bracketed_ && attempt < (IsMeasured(goal_) ? kAttempts : 1); ++attempt) {
      if (attempt > 0) {
        low_ = std::max(0.0, best_.rates.rate - kNarrower);
        high_ = std::min(kHighestRate, best_.rates.rate + kNarrower);
        fresh_ = true;
      }
      PRUNELAB_RETURN_IF_ERROR(Bisect());
      if (!IsMeasured(goal_)) break;
      PRUNELAB_ASSIGN_OR_RETURN(best_.share, Share(best_.removed));
      if (Within(best_.share)) break;
    }
    best_.tried = std::move(tried_);
    if (Within(best_.share)) return std::move(best_);
    return NotReached();
  }

 private:
  static constexpr int kAttempts = 3;
  static constexpr double kNarrower = 0.1;  // on either side
  // Near enough to end the search, as a share of the goal: times say no more, and counts cost little.
  double NearEnough() const { return IsMeasured(goal_) ? 0.015 : 0.001; }
  // The finest interval of rates: less than a filter of the largest networks.
  double Finest() const { return IsMeasured(goal_) ? 1e-3 : 1e-5; }

  double goal_share() const { return GoalShare(goal_); }
  double Distance(double share) const { return std::abs(share / goal_share() - 1); }
  bool Within(double share) const { return Distance(share) <= Tolerance(goal_); }
  bool AboveGoal() const { return tried_.back().share > goal_share(); }

  absl::StatusOr<double> Share(const WeightedNetwork& removed) const {
    if (IsMeasured(goal_)) return ShareOf(goal_, dense_, removed, timer_);
    return Cost(goal_, removed) / dense_cost_;
  }

  // Keeps the nearest; of times the nearest of this attempt, because an earlier one has not been confirmed.
  absl::Status Try(const Rates& rates) {
    PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork removed, removal_(rates));
    PRUNELAB_ASSIGN_OR_RETURN(const double share, Share(removed));
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
    const std::vector<double> rates = IsMeasured(goal_) ? std::vector<double>{0, 0.25, 0.5, 0.75, 0.9, kHighestRate}
                                                        : std::vector<double>{0, kHighestRate};
    for (const double rate : rates) {
      PRUNELAB_RETURN_IF_ERROR(Try({rate, 0, 0}));
      const double share = tried_.back().share;
      if (rate == 0) {
        // Less is left before any rate: nothing leads up to the goal. Else it is only the lower end.
        if (share < goal_share() * (1 - Tolerance(goal_))) return absl::OkStatus();
        if (share <= goal_share() * (1 + NearEnough())) {
          bracketed_ = true;
          return absl::OkStatus();
        }
        continue;
      }
      bracketed_ = share <= goal_share() * (1 + Tolerance(goal_));
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
    return Within(best_.share) || low == high ? absl::OkStatus() : BisectLayers(low, high);
  }

  // How many of the layers get the higher rate.
  absl::Status BisectLayers(double low, double high) {
    int64_t fewest = 0, most = layers_;
    while (most - fewest > 1) {
      const absl::Status tried = Try({low, high, (fewest + most) / 2});
      if (absl::IsUnimplemented(tried)) break;
      PRUNELAB_RETURN_IF_ERROR(tried);
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
    if (above == nullptr && best_.tried.size() == 1) {
      return absl::OutOfRangeError(absl::StrCat(asked,
                                                "without pruning anything, removal leaves less of the dense network's ",
                                                GoalName(goal_), ": ", text(*below), "; give a lower goal"));
    }
    if (below == nullptr) {
      return absl::OutOfRangeError(absl::StrCat(asked, "the least share of the dense network's ", GoalName(goal_),
                                                " that this removal leaves is ", text(*above),
                                                "; give a higher goal or another way to prune"));
    }
    const std::string sides = absl::StrCat(above == nullptr ? "" : text(*above) + ", ", text(*below));
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
  double dense_cost_ = 0;  // of what is counted
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
  if (IsMeasured(goal)) {
    PRUNELAB_ASSIGN_OR_RETURN(const std::vector<Latency> latencies, timer({&dense, &removed}));
    return latencies[1].median / latencies[0].median;
  }
  PRUNELAB_ASSIGN_OR_RETURN(const double whole, DenseCost(goal, dense));
  return Cost(goal, removed) / whole;
}

absl::StatusOr<WeightedNetwork> WithLayersOf(const WeightedNetwork& higher, int64_t layers, WeightedNetwork lower) {
  const NetworkInfo info = lower.Info();
  std::set<std::string> weights, taken;
  for (const ConvInfo& conv : info.convs()) {
    const std::string name = absl::StrCat(conv.node, ".weight");
    weights.insert(name);
    if (static_cast<int64_t>(taken.size()) < layers) taken.insert(name);
  }
  for (const auto& [name, tensor] : higher.tensors) {
    const at::Tensor& low = lower.tensors.at(name);
    const bool same = weights.count(name) > 0 ? (tensor.eq(low) | tensor.eq(0) | low.eq(0)).all().item<bool>()
                                              : at::equal(tensor, low);
    if (!same) {
      return absl::UnimplementedError(absl::StrCat("the two rates leave other values in ", name,
                                                   ", so that layers of both cannot be put together"));
    }
  }
  for (const std::string& name : taken) lower.tensors[name] = higher.tensors.at(name);
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
