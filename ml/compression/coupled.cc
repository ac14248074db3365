#include "ml/compression/coupled.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/compression/group_losses.h"
#include "ml/compression/group_ranking_config.h"
#include "ml/compression/without_groups.h"

namespace prunelab {
namespace {

absl::Status CheckImages(const GroupRanking& ranking, const std::optional<ProbeBatch>& images) {
  const bool by_loss = ranking.normalize() == GroupRanking::LOSS;
  const std::string field = by_loss ? "normalize" : "importance";
  const std::string value =
      by_loss ? GroupRanking::Normalize_Name(ranking.normalize()) : GroupRanking::Importance_Name(ranking.importance());
  if (!images || images->labels.size(0) == 0) {
    return FieldError(field, absl::StrCat("is ", value, ", which looks at training images; give it data"));
  }
  return absl::OkStatus();
}

// `field` is to blame.
absl::Status CheckFinite(const char* field, const std::string& value, const std::vector<double>& numbers) {
  if (std::all_of(numbers.begin(), numbers.end(), [](double number) { return std::isfinite(number); })) {
    return absl::OkStatus();
  }
  return FieldError(field, absl::StrCat("is ", value,
                                        ", and for some groups that is not finite: what is computed "
                                        "with the weights, which are finite, overflows"));
}

// Without those that `goes` marks, but the last of each layer.
WeightedNetwork WithoutMarked(const WeightedNetwork& network, const NetworkInfo& info, const ChannelGroups& grouping,
                              const std::vector<double>& importances, std::vector<bool> goes, CoupledRemoval& removal) {
  removal.groups = static_cast<int64_t>(goes.size());
  removal.kept = KeepTheLast(info, grouping, importances, goes);
  removal.removed = std::count(goes.begin(), goes.end(), true);
  return WithoutGroups(network, info, grouping, goes);
}

}  // namespace

RankedGroups::RankedGroups(const WeightedNetwork& network, const GroupRanking& ranking)
    : network_(&network), ranking_(ranking), info_(network.Info()), grouping_(info_) {}

absl::StatusOr<RankedGroups> RankedGroups::Create(const WeightedNetwork& network, const GroupRanking& ranking,
                                                  uint64_t seed, const std::optional<ProbeBatch>& images) {
  PRUNELAB_RETURN_IF_ERROR(ValidateGroupRanking(ranking));
  RankedGroups ranked(network, ranking);
  const std::vector<ChannelGroup>& groups = ranked.grouping_.groups();
  ranked.sets_ = SetsOf(groups, ranked.info_);
  ImageGradients gradients;
  if (LooksAtImages(ranking)) {
    PRUNELAB_RETURN_IF_ERROR(CheckImages(ranking, images));
    if (IsByGradients(ranking.importance())) {
      gradients = GradientsOfImages(network, ranked.info_, groups, *images);
    }
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::vector<double> importances,
                            GroupImportances(network, ranked.info_, groups, ranking.importance(), seed, &gradients));
  PRUNELAB_RETURN_IF_ERROR(CheckFinite("importance", GroupRanking::Importance_Name(ranking.importance()), importances));
  if (ranking.normalize() == GroupRanking::LOSS) {
    const std::vector<SetLosses> losses =
        MeasureSetLosses(network, ranked.info_, ranked.grouping_, ranked.sets_, importances, *images, ranking.points());
    for (const SetLosses& of_set : losses) {
      PRUNELAB_RETURN_IF_ERROR(CheckFinite("normalize", "LOSS", of_set.losses));
    }
    ranked.importances_ =
        ranking.divided_by() == GroupRanking::NOTHING
            ? ImportancesByLoss(importances, ranked.sets_, losses)
            : OrderByLossPerCost(importances, ranked.sets_, losses,
                                 SetCosts(ranked.info_, ranked.grouping_, ranked.sets_, ranking.divided_by()));
    return ranked;
  }
  ranked.importances_ = NormalizedImportances(importances, ranked.sets_, ranking.normalize());
  if (ranking.divided_by() == GroupRanking::NOTHING) return ranked;
  const SetCosts costs(ranked.info_, ranked.grouping_, ranked.sets_, ranking.divided_by());
  std::vector<int64_t> all;
  for (const GroupSet& set : ranked.sets_) all.push_back(static_cast<int64_t>(set.groups.size()));
  for (size_t s = 0; s < ranked.sets_.size(); ++s) {
    const double saved = costs.SavedBy(s, all);
    for (const size_t group : ranked.sets_[s].groups) ranked.importances_[group] /= saved;
  }
  return ranked;
}

absl::StatusOr<WeightedNetwork> RankedGroups::Without(double rate, CoupledRemoval* removal) const {
  if (!(rate >= 0 && rate < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("rate is ", rate, "; must be at least 0 and below 1"));
  }
  CoupledRemoval counted;
  WeightedNetwork without = WithoutMarked(*network_, info_, grouping_, importances_,
                                          GroupsThatGo(importances_, sets_, ranking_, rate), counted);
  if (removal != nullptr) *removal = counted;
  return without;
}

absl::StatusOr<CoupledRemoval> RemoveCoupled(WeightedNetwork& network, const CoupledOptions& options) {
  CoupledRemoval removal;
  if (options.rate) {
    PRUNELAB_ASSIGN_OR_RETURN(const RankedGroups ranked,
                              RankedGroups::Create(network, options.ranking, options.seed, options.images));
    PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork without, ranked.Without(*options.rate, &removal));
    network = std::move(without);
    return removal;
  }
  if (options.ranking.ByteSizeLong() > 0) {
    return absl::InvalidArgumentError(
        "a ranking of groups goes with a rate; without one those go whose filters are dead");
  }
  const NetworkInfo info = network.Info();
  const ChannelGroups grouping(info);
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<double> importances,
                            GroupImportances(network, info, grouping.groups(), GroupRanking::MEAN_ABS, 0));
  std::vector<bool> dead;
  for (const double value : importances) dead.push_back(value == 0);
  network = WithoutMarked(network, info, grouping, importances, dead, removal);
  return removal;
}

}  // namespace prunelab
