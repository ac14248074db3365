#include "ml/compression/group_importance.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"
#include "ml/compression/group_ranking_config.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

using Channels = std::vector<std::pair<std::string, int64_t>>;

// A number for each channel of a node, computed when it is first asked for.
class ByNode {
 public:
  using Compute = std::function<at::Tensor(const std::string& node)>;
  explicit ByNode(Compute compute) : compute_(std::move(compute)) {}

  double Of(const std::string& node, int64_t channel) {
    at::Tensor& values = values_[node];
    if (!values.defined()) values = compute_(node).contiguous();
    return values.data_ptr<double>()[channel];
  }

  double Sum(const Channels& channels) {
    double sum = 0;
    for (const auto& [node, channel] : channels) sum += Of(node, channel);
    return sum;
  }

 private:
  const Compute compute_;
  std::map<std::string, at::Tensor> values_;
};

size_t Layers(const Channels& channels) {
  std::set<std::string> nodes;
  for (const auto& [node, channel] : channels) nodes.insert(node);
  return nodes.size();
}

class Importances {
 public:
  // `gradients`: null but for HESSIAN and FISHER.
  Importances(const WeightedNetwork& network, const NetworkInfo& info, uint64_t seed, const ImageGradients* gradients)
      : network_(network),
        gradients_(gradients),
        seed_(seed),
        mean_abs_([&](const std::string& node) { return ByOutput(info, node, Weight(node)).abs().flatten(1).mean(1); }),
        filters_([&](const std::string& node) { return ByOutput(info, node, Squares(node)).flatten(1).sum(1); }),
        readers_([&](const std::string& node) { return SumByInput(info, node, Squares(node)); }),
        scales_([&](const std::string& node) {
          return network.Has(node, "weight") ? network.Get(node, "weight").to(at::kDouble).abs()
                                             : at::ones({info.shape(info.Index(node)).channels}, at::kDouble);
        }),
        squared_scales_([&](const std::string& node) {
          return network.Has(node, "weight") ? Squares(node)
                                             : at::zeros({info.shape(info.Index(node)).channels}, at::kDouble);
        }) {}

  // Of groups[index].
  double Of(const std::vector<ChannelGroup>& groups, size_t index, GroupRanking::Importance importance) {
    const ChannelGroup& group = groups[index];
    switch (importance) {
      case GroupRanking::MEAN_ABS:
        return mean_abs_.Sum(group.filters) / static_cast<double>(group.filters.size());
      case GroupRanking::GROUP_NORM:
      case GroupRanking::HESSIAN: {
        // Batch norms without a scale have no part.
        Channels with_scale;
        for (const auto& each : group.batch_norms) {
          if (network_.Has(each.first, "weight")) with_scale.push_back(each);
        }
        const size_t layers = Layers(group.filters) + Layers(group.readers) + Layers(with_scale);
        // A grouped convolution ties the channels in the same place of its groups.
        const size_t channels = group.filters.size() / Layers(group.filters);
        return (filters_.Sum(group.filters) + readers_.Sum(group.readers) + squared_scales_.Sum(with_scale)) /
               static_cast<double>(layers * channels);
      }
      case GroupRanking::BATCH_NORM_SCALE:
        return scales_.Sum(group.batch_norms) / static_cast<double>(group.batch_norms.size());
      case GroupRanking::RANDOM: {
        const auto& [node, filter] = group.filters.front();
        return RandomStream(seed_, absl::StrCat("groups/", node), static_cast<uint64_t>(filter)).Uniform();
      }
      case GroupRanking::FISHER:
        return gradients_->gates[index];
    }
    return 0;
  }

 private:
  at::Tensor Weight(const std::string& node) const { return network_.Get(node, "weight").to(at::kDouble); }

  // w^2, and with gradients w^2 h.
  at::Tensor Squares(const std::string& node) const {
    const at::Tensor squares = Weight(node).square();
    return gradients_ == nullptr ? squares : squares * gradients_->mean_squares.at(absl::StrCat(node, ".weight"));
  }

  const WeightedNetwork& network_;
  const ImageGradients* const gradients_;
  const uint64_t seed_;
  ByNode mean_abs_, filters_, readers_, scales_, squared_scales_;
};

// Changes the importances of one set.
void Normalize(const std::vector<size_t>& set, GroupRanking::Normalize normalize, std::vector<double>& importances) {
  std::vector<double> values;
  for (const size_t group : set) values.push_back(importances[group]);
  const auto n = static_cast<double>(values.size());
  const double sum = std::accumulate(values.begin(), values.end(), 0.0), mean = sum / n;
  const auto divide = [&](double minus, double by) {
    for (double& value : values) value = by > 0 ? (value - minus) / by : 0;
  };
  switch (normalize) {
    case GroupRanking::NONE:
    case GroupRanking::LOSS:  // not by the importances alone: ImportancesByLoss
      return;
    case GroupRanking::MEAN:
      divide(0, mean);
      break;
    case GroupRanking::MAX:
      divide(0, *std::max_element(values.begin(), values.end()));
      break;
    case GroupRanking::GAUSSIAN: {
      double squares = 0;
      for (const double value : values) squares += (value - mean) * (value - mean);
      divide(mean, n > 1 ? std::sqrt(squares / (n - 1)) : 0);
      break;
    }
    case GroupRanking::LAMP: {
      std::vector<size_t> order(values.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
      // From the largest, so that small ones are not lost in the difference of two large sums.
      double above = 0;
      for (size_t k = order.size(); k-- > 0;) {
        double& value = values[order[k]];
        above += value;
        value = above > 0 ? value / above : 0;
      }
      break;
    }
  }
  for (size_t k = 0; k < set.size(); ++k) importances[set[k]] = values[k];
}

}  // namespace

std::vector<size_t> ByImportance(const GroupSet& set, const std::vector<double>& importances) {
  std::vector<size_t> order = set.groups;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return importances[a] < importances[b]; });
  return order;
}

absl::Status CheckImportance(GroupRanking::Importance importance, const std::vector<ChannelGroup>& groups) {
  if (importance != GroupRanking::BATCH_NORM_SCALE) return absl::OkStatus();
  for (const ChannelGroup& group : groups) {
    if (!group.batch_norms.empty()) continue;
    const auto& [node, filter] = group.filters.front();
    return FieldError("importance",
                      absl::StrCat("is BATCH_NORM_SCALE, and no batch norm reads the channels that are tied to filter ",
                                   filter, " of ", node, "; choose another"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> GroupImportances(const WeightedNetwork& network, const NetworkInfo& info,
                                                     const std::vector<ChannelGroup>& groups,
                                                     GroupRanking::Importance importance, uint64_t seed,
                                                     const ImageGradients* gradients) {
  PRUNELAB_RETURN_IF_ERROR(CheckImportance(importance, groups));
  const bool by_gradients = IsByGradients(importance);
  PRUNELAB_CHECK(!by_gradients || gradients != nullptr) << "no gradients";
  Importances of(network, info, seed, by_gradients ? gradients : nullptr);
  std::vector<double> importances;
  for (size_t g = 0; g < groups.size(); ++g) importances.push_back(of.Of(groups, g, importance));
  return importances;
}

std::vector<double> ImportancesByLoss(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                                      const std::vector<SetLosses>& losses) {
  constexpr double kLittle = 1e-9;
  std::vector<double> by_loss(importances.size());
  for (size_t s = 0; s < sets.size(); ++s) {
    const std::vector<size_t> order = ByImportance(sets[s], importances);
    const SetLosses& measured = losses[s];
    double highest = 0;
    for (size_t k = 0; k + 1 < order.size(); ++k) {
      const auto gone = static_cast<int64_t>(k) + 1;
      const auto next = std::lower_bound(measured.gone.begin(), measured.gone.end(), gone);
      const size_t after = next - measured.gone.begin(), before = after - 1;
      const double part = static_cast<double>(gone - measured.gone[before]) /
                          static_cast<double>(measured.gone[after] - measured.gone[before]);
      const double loss = measured.losses[before] + part * (measured.losses[after] - measured.losses[before]);
      highest = std::max(loss - measured.losses[0], highest * (1 + kLittle) + kLittle);
      by_loss[order[k]] = highest;
    }
    by_loss[order.back()] = std::numeric_limits<double>::infinity();
  }
  return by_loss;
}

SetCosts::SetCosts(const NetworkInfo& info, const ChannelGroups& grouping, const std::vector<GroupSet>& sets,
                   GroupRanking::Cost cost) {
  std::vector<size_t> set_of(grouping.groups().size());
  for (size_t s = 0; s < sets.size(); ++s) {
    for (const size_t group : sets[s].groups) set_of[group] = s;
  }
  // Of a node's channels: those that are in no set, and by set the mean number that a group has.
  const auto shares = [&](int node, double& in_none) {
    std::map<size_t, double> of_sets;
    in_none = 0;
    for (int64_t c = 0; c < info.shape(node).channels; ++c) {
      const int64_t group = grouping.Of(node, c);
      if (group < 0) {
        ++in_none;
      } else {
        const size_t set = set_of[group];
        of_sets[set] += 1 / static_cast<double>(sets[set].groups.size());
      }
    }
    return of_sets;
  };
  terms_of_.resize(sets.size());
  for (int i = 0; i < info.network().node_size(); ++i) {
    const std::string& node = info.node(i).name();
    Term term;
    term.of_outputs = shares(i, term.outputs);
    bool by_pairs = info.op(i).Channels(info.View(i)).kind == ChannelRelation::Kind::kMixed;
    if (by_pairs) {
      term.of_inputs = shares(info.inputs(i)[0], term.inputs);
      for (const auto& [set, numbers] : term.of_outputs) by_pairs = by_pairs && term.of_inputs.count(set) == 0;
    }
    double weights = 0, others = 0;
    if (cost == GroupRanking::MACS) {
      (by_pairs ? weights : others) = static_cast<double>(info.MacCount(i));
    } else {
      for (const ParameterSpec& parameter : info.parameters()) {
        if (parameter.is_buffer || parameter.node != node) continue;
        double numbers = 1;
        for (const int64_t size : parameter.shape) numbers *= static_cast<double>(size);
        (by_pairs && parameter.name == absl::StrCat(node, ".weight") ? weights : others) += numbers;
      }
    }
    if (weights == 0 && others == 0) continue;
    const auto outputs = static_cast<double>(info.shape(i).channels);
    term.per_output = others / outputs;
    if (by_pairs) {
      term.per_pair = weights / outputs / static_cast<double>(info.shape(info.inputs(i)[0]).channels);
    } else {
      term.of_inputs.clear();
    }
    std::set<size_t> of_sets;
    for (const auto* sides : {&term.of_outputs, &term.of_inputs}) {
      for (const auto& [set, numbers] : *sides) of_sets.insert(set);
    }
    for (const size_t set : of_sets) terms_of_[set].push_back(terms_.size());
    terms_.push_back(std::move(term));
  }
}

double SetCosts::Of(const Term& term, const std::vector<int64_t>& kept) const {
  double outputs = term.outputs, inputs = term.inputs;
  for (const auto& [set, numbers] : term.of_outputs) outputs += numbers * static_cast<double>(kept[set]);
  for (const auto& [set, numbers] : term.of_inputs) inputs += numbers * static_cast<double>(kept[set]);
  return outputs * (term.per_pair * inputs + term.per_output);
}

double SetCosts::Of(const std::vector<int64_t>& kept) const {
  double sum = 0;
  for (const Term& term : terms_) sum += Of(term, kept);
  return sum;
}

double SetCosts::SavedBy(size_t set, const std::vector<int64_t>& kept) const {
  std::vector<int64_t> fewer = kept;
  --fewer[set];
  double saved = 0;
  for (const size_t t : terms_of_[set]) saved += Of(terms_[t], kept) - Of(terms_[t], fewer);
  return saved;
}

std::vector<double> OrderByLossPerCost(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                                       const std::vector<SetLosses>& losses, const SetCosts& costs) {
  const std::vector<double> by_loss = ImportancesByLoss(importances, sets, losses);
  std::vector<std::vector<size_t>> orders;
  std::vector<std::vector<double>> slopes;  // by set: what the loss rises by with each next group
  std::vector<int64_t> kept;
  for (const GroupSet& set : sets) {
    const std::vector<size_t>& order = orders.emplace_back(ByImportance(set, importances));
    kept.push_back(static_cast<int64_t>(order.size()));
    // The corners of the convex curve, from nothing gone to all but one.
    std::vector<std::pair<double, double>> corners;
    for (size_t gone = 0; gone < order.size(); ++gone) {
      const std::pair<double, double> point = {static_cast<double>(gone), gone == 0 ? 0 : by_loss[order[gone - 1]]};
      while (corners.size() >= 2) {
        const auto &a = corners[corners.size() - 2], &b = corners.back();
        const bool below =
            (b.second - a.second) * (point.first - a.first) < (point.second - a.second) * (b.first - a.first);
        if (below) break;
        corners.pop_back();
      }
      corners.push_back(point);
    }
    std::vector<double>& of_set = slopes.emplace_back();
    for (size_t c = 1; c < corners.size(); ++c) {
      const double width = corners[c].first - corners[c - 1].first;
      of_set.insert(of_set.end(), static_cast<size_t>(width), (corners[c].second - corners[c - 1].second) / width);
    }
  }
  std::vector<double> place(importances.size(), std::numeric_limits<double>::infinity());
  for (double next = 0;; ++next) {
    size_t best = sets.size();
    double least = 0;
    for (size_t s = 0; s < sets.size(); ++s) {
      const size_t gone = orders[s].size() - kept[s];
      if (gone == slopes[s].size()) continue;
      const double ratio = slopes[s][gone] / costs.SavedBy(s, kept);
      if (best == sets.size() || ratio < least) {
        best = s;
        least = ratio;
      }
    }
    if (best == sets.size()) return place;
    place[orders[best][orders[best].size() - kept[best]]] = next;
    --kept[best];
  }
}

std::vector<double> NormalizedImportances(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                                          GroupRanking::Normalize normalize) {
  std::vector<double> normalized = importances;
  for (const GroupSet& set : sets) Normalize(set.groups, normalize, normalized);
  return normalized;
}

std::vector<bool> GroupsThatGo(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                               const GroupRanking& ranking, double rate) {
  const auto less = [&](size_t a, size_t b) { return importances[a] < importances[b]; };
  // Groups that are ranked together, in the order of their first sets.
  std::vector<std::vector<size_t>> scopes;
  std::map<std::string, size_t> of_name;
  for (size_t s = 0; s < sets.size(); ++s) {
    const std::string name = ranking.scope() == GroupRanking::GLOBAL    ? ""
                             : ranking.scope() == GroupRanking::PER_SET ? absl::StrCat(s)
                                                                        : sets[s].kinds;
    const auto [place, is_new] = of_name.emplace(name, scopes.size());
    if (is_new) scopes.emplace_back();
    std::vector<size_t>& scope = scopes[place->second];
    scope.insert(scope.end(), sets[s].groups.begin(), sets[s].groups.end());
  }
  std::vector<bool> goes(importances.size(), false);
  for (size_t s = 0; s < scopes.size(); ++s) {
    std::vector<size_t>& scope = scopes[s];
    std::sort(scope.begin(), scope.end());
    std::stable_sort(scope.begin(), scope.end(), less);
    const int64_t count = GroupsToGo(static_cast<int64_t>(scope.size()), rate, s);
    for (int64_t k = 0; k < count; ++k) goes[scope[k]] = true;
  }
  for (const GroupSet& set : sets) {
    const std::vector<size_t> order = ByImportance(set, importances);
    const auto all = static_cast<int64_t>(order.size());
    const auto most = static_cast<int64_t>(ranking.max_rate() * static_cast<double>(all));
    int64_t gone = 0;
    for (const size_t group : order) gone += goes[group];
    gone = std::min(gone, most);
    // Where something must stay, it is a whole multiple, too.
    const int64_t rounded = (all - gone + ranking.round() - 1) / ranking.round() * ranking.round();
    const int64_t kept = std::min(all, ranking.round() > 1 ? std::max(rounded, ranking.round()) : rounded);
    for (int64_t k = all - kept; k < all; ++k) goes[order[k]] = false;
  }
  return goes;
}

}  // namespace prunelab
