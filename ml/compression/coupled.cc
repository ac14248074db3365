#include "ml/compression/coupled.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/compression/group_importance.h"
#include "ml/compression/group_ranking_config.h"
#include "ml/compression/network_rewriter.h"

namespace prunelab {
namespace {

// Which groups should go.
absl::StatusOr<std::vector<bool>> Chosen(const WeightedNetwork& network, const NetworkInfo& info,
                                         const std::vector<ChannelGroup>& groups, const CoupledOptions& options,
                                         std::vector<double>& importances) {
  const GroupRanking::Importance importance = options.ranking.importance();
  PRUNELAB_ASSIGN_OR_RETURN(importances, GroupImportances(network, info, groups, importance, options.seed));
  if (options.rate) {
    const std::vector<GroupSet> sets = SetsOf(groups, info);
    importances = NormalizedImportances(importances, sets, options.ranking.normalize());
    return GroupsThatGo(importances, sets, options.ranking, *options.rate);
  }
  std::vector<bool> dead;
  for (const double value : importances) dead.push_back(value == 0);
  return dead;
}

// No node is left without channels: its most important group stays. Returns how many stay for that.
int64_t KeepTheLast(const NetworkInfo& info, const ChannelGroups& grouping, const std::vector<double>& importances,
                    std::vector<bool>& goes) {
  int64_t kept = 0;
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (grouping.Kept(i, goes).any().item<bool>()) continue;
    int64_t best = grouping.Of(i, 0);
    for (int64_t c = 1; c < info.shape(i).channels; ++c) {
      const int64_t group = grouping.Of(i, c);
      if (importances[group] > importances[best]) best = group;
    }
    goes[best] = false;
    ++kept;
  }
  return kept;
}

// `kept`: by node, bool [channels].
void Narrow(WeightedNetwork& network, const NetworkInfo& info, const std::vector<at::Tensor>& kept) {
  NetworkRewriter rewriter(network);
  for (int i = 0; i < info.network().node_size(); ++i) {
    RemainingChannels remaining = {kept[i], {}};
    for (const int input : info.inputs(i)) remaining.inputs.push_back(kept[input]);
    rewriter.NarrowParameters(info, i, remaining);
    info.op(i).Narrow(*rewriter.AppendCopy(info.node(i)), remaining);
  }
  rewriter.Finish();
}

}  // namespace

absl::StatusOr<CoupledRemoval> RemoveCoupled(WeightedNetwork& network, const CoupledOptions& options) {
  if (options.rate && !(*options.rate >= 0 && *options.rate < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("rate is ", *options.rate, "; must be at least 0 and below 1"));
  }
  if (options.rate) {
    PRUNELAB_RETURN_IF_ERROR(ValidateGroupRanking(options.ranking));
  } else if (options.ranking.ByteSizeLong() > 0) {
    return absl::InvalidArgumentError(
        "a ranking of groups goes with a rate; without one those go whose filters are dead");
  }
  const NetworkInfo info = network.Info();
  const ChannelGroups grouping(info);
  std::vector<double> importances;
  PRUNELAB_ASSIGN_OR_RETURN(std::vector<bool> goes, Chosen(network, info, grouping.groups(), options, importances));
  CoupledRemoval removal;
  removal.groups = static_cast<int64_t>(goes.size());
  removal.kept = KeepTheLast(info, grouping, importances, goes);
  removal.removed = std::count(goes.begin(), goes.end(), true);
  std::vector<at::Tensor> kept;
  for (int i = 0; i < info.network().node_size(); ++i) kept.push_back(grouping.Kept(i, goes));
  Narrow(network, info, kept);
  return removal;
}

}  // namespace prunelab
