#include "ml/pruning/grasp.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/network/one_pixel_batch_norm.h"
#include "ml/pruning/grasp.pb.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/one_time_pruning.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/ranking.h"

namespace prunelab {
namespace {

// Images that a half of them must have: the loss is differentiated with BN by the half's own statistics.
int64_t LeastHalf(const NetworkInfo& network) { return OnePixelBatchNorm(network).empty() ? 1 : 2; }

class GraspStrategy : public OneTimePruning {
 public:
  GraspStrategy(const Grasp& parameters, std::set<std::string> nodes)
      : OneTimePruning(Granularity::kWeight, parameters.epoch()), parameters_(parameters), nodes_(std::move(nodes)) {}

 private:
  absl::StatusOr<MaskUpdate> Choose(const std::vector<PrunableLayer>& layers) const override {
    PRUNELAB_ASSIGN_OR_RETURN(const std::vector<ProbeBatch> batches,
                              GraspBatches(probe(), parameters_.images_per_class()));
    std::map<std::string, at::Tensor> scores;  // of the layers chosen; here the largest are masked
    for (const auto& [node, score] : GraspScores(probe(), layers, batches, parameters_.temperature())) {
      if (nodes_.count(node)) scores[node] = -score;
    }
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, RankScores(parameters_.ranking(), parameters_.rate(), scores, layers));
    return update;
  }

  const Grasp parameters_;
  const std::set<std::string> nodes_;
};

}  // namespace

absl::StatusOr<std::vector<ProbeBatch>> GraspBatches(const NetworkProbe& probe, int64_t images_per_class) {
  constexpr int64_t kLookedAt = 256;
  const int64_t classes = probe.network().classes();
  std::vector<std::vector<at::Tensor>> of_class(classes);
  int64_t missing = classes * images_per_class;
  for (int64_t first = 0; missing > 0; first += kLookedAt) {
    PRUNELAB_ASSIGN_OR_RETURN(const ProbeBatch batch, probe.TrainingImages(first, kLookedAt));
    const at::Tensor labels = batch.labels.cpu();
    for (int64_t i = 0; i < labels.size(0); ++i) {
      std::vector<at::Tensor>& images = of_class[labels.const_data_ptr<int64_t>()[i]];
      if (static_cast<int64_t>(images.size()) == images_per_class) continue;
      images.push_back(batch.images[i]);
      --missing;
    }
    if (labels.size(0) < kLookedAt) break;
  }
  std::vector<at::Tensor> images;
  std::vector<int64_t> labels;
  for (int64_t round = 0; round < images_per_class; ++round) {
    for (int64_t c = 0; c < classes; ++c) {
      if (round >= static_cast<int64_t>(of_class[c].size())) continue;
      images.push_back(of_class[c][round]);
      labels.push_back(c);
    }
  }
  const int64_t half = static_cast<int64_t>(images.size()) / 2;
  const int64_t least = LeastHalf(probe.network());
  if (half < least) {
    return absl::FailedPreconditionError(absl::StrCat("grasp: needs ", 2 * least,
                                                      " training images at least, and finds ", images.size(),
                                                      " of the ", classes, " classes"));
  }
  const at::Tensor all = at::stack(images);
  const at::Tensor all_labels = at::tensor(labels, at::kLong).to(all.device());
  std::vector<ProbeBatch> batches;
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>(0, half), {half, all.size(0)}}) {
    batches.push_back({all.slice(0, begin, end), all_labels.slice(0, begin, end)});
  }
  return batches;
}

std::map<std::string, at::Tensor> GraspScores(const NetworkProbe& probe, const std::vector<PrunableLayer>& layers,
                                              const std::vector<ProbeBatch>& batches, double temperature) {
  const at::AutoGradMode gradients_on(true);
  ProbeRequest request;
  request.mode = ProbeMode::kTrainStatistics;
  std::vector<at::Tensor> weights;  // those of `layers` first
  const auto add = [&](const std::string& node, const at::Tensor& weight) {
    weights.push_back(weight.detach().clone().requires_grad_(true));
    request.parameters[absl::StrCat(node, ".weight")] = weights.back();
  };
  for (const PrunableLayer& layer : layers) add(layer.node, layer.weight);
  for (const Node& node : probe.network().network().node()) {
    if (node.op_case() == Node::kLinear) add(node.name(), probe.Tensor(absl::StrCat(node.name(), ".weight")));
  }
  const auto gradient = [&](const ProbeBatch& batch, bool create_graph) {
    request.images = batch.images;
    const at::Tensor logits = probe.Forward(request).logits / temperature;
    const at::Tensor loss = at::cross_entropy_loss(logits, batch.labels);
    return torch::autograd::grad({loss}, weights, {}, create_graph, create_graph);
  };
  std::vector<at::Tensor> sum(weights.size()), product(weights.size());
  const auto accumulate = [](std::vector<at::Tensor>& into, const std::vector<at::Tensor>& from) {
    for (size_t i = 0; i < into.size(); ++i) into[i] = into[i].defined() ? into[i] + from[i] : from[i];
  };
  for (const ProbeBatch& batch : batches) accumulate(sum, gradient(batch, false));
  for (const ProbeBatch& batch : batches) {
    const std::vector<at::Tensor> differentiable = gradient(batch, true);
    at::Tensor inner = at::zeros({}, batch.images.options());
    for (size_t i = 0; i < weights.size(); ++i) inner = inner + (sum[i] * differentiable[i]).sum();
    accumulate(product, torch::autograd::grad({inner}, weights));
  }
  std::map<std::string, at::Tensor> scores;
  for (size_t i = 0; i < layers.size(); ++i) scores[layers[i].node] = -layers[i].weight * product[i];
  return scores;
}

namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateGrasp(const Grasp& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("epoch", parameters.epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("images_per_class", parameters.images_per_class(), 1));
  const int64_t classes = setup.network->classes(), least = LeastHalf(*setup.network);
  if (classes * parameters.images_per_class() / 2 < least) {
    return FieldError(
        "images_per_class",
        absl::StrCat("is ", parameters.images_per_class(), ", of ", classes, " classes; must be ",
                     (2 * least + classes - 1) / classes, " or more, so that each of the two batches has ", least,
                     least == 1 ? "" : ", which a batch norm of maps of 1x1 pixel needs"));
  }
  if (!(parameters.temperature() > 0 && std::isfinite(parameters.temperature()))) {
    return FieldError("temperature", absl::StrCat("is ", parameters.temperature(), "; must be above 0 and finite"));
  }
  PRUNELAB_RETURN_IF_ERROR(InField("ranking", ValidateRanking(parameters.ranking())));
  const Ranking::Scope scope = parameters.ranking().scope();
  if (scope == Ranking::GLOBAL_LAYER_MEAN || scope == Ranking::GLOBAL_LAMP) {
    return FieldError("ranking.scope",
                      absl::StrCat("is ", Ranking::Scope_Name(scope),
                                   "; must be GLOBAL, PER_LAYER or ERDOS_RENYI_KERNEL, for scores have both signs"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> nodes, ChosenLayers(parameters.layers(), *setup.network));
  return std::make_unique<GraspStrategy>(parameters, std::move(nodes));
}
const bool registered = RegisterPruningStrategy(&CreateGrasp);

}  // namespace
}  // namespace prunelab
