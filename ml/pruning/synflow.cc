#include "ml/pruning/synflow.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
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
#include "ml/pruning/synflow.pb.h"

namespace prunelab {
namespace {

class SynflowStrategy : public OneTimePruning {
 public:
  SynflowStrategy(const Synflow& parameters, std::set<std::string> nodes)
      : OneTimePruning(ToGranularity(parameters.granularity()), parameters.epoch()),
        parameters_(parameters),
        nodes_(std::move(nodes)) {}

 private:
  absl::StatusOr<MaskUpdate> Choose(const std::vector<PrunableLayer>& layers) const override {
    std::map<std::string, at::Tensor> masks;
    for (int64_t round = 1; round <= parameters_.rounds(); ++round) {
      const std::map<std::string, at::Tensor> scores = SynflowScores(probe(), layers, masks);
      std::map<std::string, at::Tensor> chosen;
      for (const std::string& node : nodes_) {
        const at::Tensor& score = scores.at(node);
        chosen[node] = granularity() == Granularity::kFilter ? score.sum({1, 2, 3}, /*keepdim=*/true) : score;
      }
      const double done = static_cast<double>(round) / static_cast<double>(parameters_.rounds());
      // The last round's rate is exactly the requested one.
      const double rate =
          round == parameters_.rounds() ? parameters_.rate() : 1 - std::pow(1 - parameters_.rate(), done);
      PRUNELAB_ASSIGN_OR_RETURN(masks, RankScores(parameters_.ranking(), rate, chosen, layers));
    }
    MaskUpdate update;
    update.masks = std::move(masks);
    return update;
  }

  const Synflow parameters_;
  const std::set<std::string> nodes_;
};

}  // namespace

std::map<std::string, at::Tensor> SynflowScores(const NetworkProbe& probe, const std::vector<PrunableLayer>& layers,
                                                const std::map<std::string, at::Tensor>& masks) {
  const at::AutoGradMode gradients_on(true);
  ProbeRequest request;
  for (const ParameterSpec& spec : probe.network().parameters()) {
    if (!spec.is_integer) request.parameters[spec.name] = probe.Tensor(spec.name).to(at::kDouble).abs();
  }
  std::vector<at::Tensor> weights;
  for (const PrunableLayer& layer : layers) {
    const auto mask = masks.find(layer.node);
    const at::Tensor in_force = (mask != masks.end() ? mask->second : layer.mask).to(at::kDouble);
    // The masked weight itself is the variable: what is masked scores 0.
    weights.push_back((layer.weight.detach().to(at::kDouble).abs() * in_force).requires_grad_(true));
    request.parameters[absl::StrCat(layer.node, ".weight")] = weights.back();
    request.masks[layer.node] = at::ones({layer.weight.size(0), 1, 1, 1}, in_force.options());
  }
  const NodeShape& shape = probe.network().input_shape();
  request.images = at::ones({1, shape.channels, shape.height, shape.width}, weights.at(0).options());
  const at::Tensor flow = probe.Forward(request).logits.sum();
  const std::vector<at::Tensor> gradients = torch::autograd::grad({flow}, weights);
  std::map<std::string, at::Tensor> scores;
  for (size_t i = 0; i < layers.size(); ++i) scores[layers[i].node] = (gradients[i] * weights[i].detach()).abs();
  return scores;
}

namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateSynflow(const Synflow& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("epoch", parameters.epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("rounds", parameters.rounds(), 1));
  PRUNELAB_RETURN_IF_ERROR(InField("ranking", ValidateRanking(parameters.ranking())));
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> nodes, ChosenLayers(parameters.layers(), *setup.network));
  return std::make_unique<SynflowStrategy>(parameters, std::move(nodes));
}
const bool registered = RegisterPruningStrategy(&CreateSynflow);

}  // namespace
}  // namespace prunelab
