#include "ml/pruning/snip.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/one_time_pruning.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/snip.pb.h"

namespace prunelab {
namespace {

class SnipStrategy : public OneTimePruning {
 public:
  SnipStrategy(const Snip& parameters, std::set<std::string> nodes)
      : OneTimePruning(ToGranularity(parameters.granularity()), parameters.epoch()),
        parameters_(parameters),
        nodes_(std::move(nodes)) {}

 private:
  absl::StatusOr<MaskUpdate> Choose(const std::vector<PrunableLayer>& layers) const override {
    std::vector<PrunableLayer> chosen;
    for (const PrunableLayer& layer : layers) {
      if (nodes_.count(layer.node)) chosen.push_back(layer);
    }
    PRUNELAB_ASSIGN_OR_RETURN(const auto scores, SnipScores(probe(), chosen, parameters_.images(), granularity()));
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, RankScores(parameters_.ranking(), parameters_.rate(), scores, layers));
    return update;
  }

  const Snip parameters_;
  const std::set<std::string> nodes_;
};

}  // namespace

absl::StatusOr<std::map<std::string, at::Tensor>> SnipScores(const NetworkProbe& probe,
                                                             const std::vector<PrunableLayer>& layers, int64_t images,
                                                             Granularity granularity) {
  constexpr int64_t kBatch = 64;
  const at::AutoGradMode gradients_on(true);
  ProbeRequest request;
  std::vector<at::Tensor> weights, gradients;
  for (const PrunableLayer& layer : layers) {
    weights.push_back(layer.weight.detach().clone().requires_grad_(true));
    gradients.push_back(at::zeros_like(layer.weight));
    request.parameters[absl::StrCat(layer.node, ".weight")] = weights.back();
  }
  // The sum over batches is the mean loss's gradient up to a factor, which the scores do not have.
  for (int64_t first = 0; first < images; first += kBatch) {
    PRUNELAB_ASSIGN_OR_RETURN(const ProbeBatch batch, probe.TrainingImages(first, std::min(kBatch, images - first)));
    if (batch.labels.size(0) == 0) break;
    request.images = batch.images;
    const at::Tensor loss = at::cross_entropy_loss(probe.Forward(request).logits, batch.labels, {}, at::Reduction::Sum);
    const std::vector<at::Tensor> of_batch = torch::autograd::grad({loss}, weights);
    for (size_t i = 0; i < weights.size(); ++i) gradients[i] += of_batch[i];
  }
  std::map<std::string, at::Tensor> scores;
  at::Tensor sum;
  for (size_t i = 0; i < layers.size(); ++i) {
    at::Tensor effect = gradients[i] * layers[i].weight;
    if (granularity == Granularity::kFilter) effect = effect.sum({1, 2, 3}, /*keepdim=*/true);
    scores[layers[i].node] = effect.abs();
    const at::Tensor of_layer = scores[layers[i].node].sum(at::kDouble);
    sum = sum.defined() ? sum + of_layer : of_layer;
  }
  for (auto& [node, score] : scores) {
    score = at::where(sum.gt(0), score.to(at::kDouble) / sum, score.to(at::kDouble)).to(score.scalar_type());
  }
  return scores;
}

namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateSnip(const Snip& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("epoch", parameters.epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("images", parameters.images(), 1));
  PRUNELAB_RETURN_IF_ERROR(InField("ranking", ValidateRanking(parameters.ranking())));
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> nodes, ChosenLayers(parameters.layers(), *setup.network));
  return std::make_unique<SnipStrategy>(parameters, std::move(nodes));
}
const bool registered = RegisterPruningStrategy(&CreateSnip);

}  // namespace
}  // namespace prunelab
