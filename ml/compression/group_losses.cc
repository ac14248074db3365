#include "ml/compression/group_losses.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "ml/base/check.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/without_groups.h"
#include "ml/execution/plan.h"

namespace prunelab {
namespace {

// The mean cross-entropy, in evaluation mode.
double MeanLoss(const WeightedNetwork& network, const ProbeBatch& images) {
  constexpr int64_t kBatch = 64;
  const at::NoGradGuard no_grad;
  Model model = ToModel(network, at::kCPU);
  ReferencePlan plan;
  double sum = 0;
  const int64_t count = images.labels.size(0);
  for (int64_t first = 0; first < count; first += kBatch) {
    const int64_t end = std::min(first + kBatch, count);
    const at::Tensor logits = plan.Forward(model, images.images.slice(0, first, end), {}).logits.to(at::kDouble);
    sum += at::cross_entropy_loss(logits, images.labels.slice(0, first, end), {}, at::Reduction::Sum).item<double>();
  }
  return sum / static_cast<double>(count);
}

// How many groups have gone where the loss of a set of n is measured.
std::vector<int64_t> CountsOf(int64_t n, int64_t points) {
  std::set<int64_t> counts = {0, n - 1};
  for (int64_t k = 1; k < points; ++k) {
    const auto count = static_cast<int64_t>(std::llround(static_cast<double>(k * n) / static_cast<double>(points)));
    counts.insert(std::min(count, n - 1));
  }
  return {counts.begin(), counts.end()};
}

}  // namespace

ImageGradients GradientsOfImages(const WeightedNetwork& network, const NetworkInfo& info,
                                 const std::vector<ChannelGroup>& groups, const ProbeBatch& images) {
  Model model = ToModel(network, at::kCPU);
  ReferencePlan plan;
  std::vector<at::Tensor> weights;
  std::vector<std::string> names;
  for (const NamedTensor& parameter : model.parameters()) {
    weights.push_back(parameter.tensor);
    names.push_back(parameter.name);
  }
  std::set<std::string> readers;
  for (const ChannelGroup& group : groups) {
    for (const auto& [node, channel] : group.readers) readers.insert(node);
  }
  ImageGradients sums;
  sums.gates.assign(groups.size(), 0);
  const int64_t count = images.labels.size(0);
  PRUNELAB_CHECK(count > 0) << "no images";
  for (int64_t image = 0; image < count; ++image) {
    const at::Tensor logits = plan.Forward(model, images.images.slice(0, image, image + 1), {}).logits;
    const at::Tensor loss = at::cross_entropy_loss(logits, images.labels.slice(0, image, image + 1));
    const std::vector<at::Tensor> gradients =
        torch::autograd::grad({loss}, weights, {}, std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
    std::map<std::string, at::Tensor> by_input;  // the sum of w g over the weights that read an input, float64
    for (size_t k = 0; k < names.size(); ++k) {
      const at::Tensor weight = weights[k].detach().to(at::kDouble);
      const at::Tensor gradient = gradients[k].defined() ? gradients[k].to(at::kDouble) : at::zeros_like(weight);
      at::Tensor& sum = sums.mean_squares[names[k]];
      sum = sum.defined() ? sum.add_(gradient.square()) : gradient.square();
      const std::string node = names[k].substr(0, names[k].rfind('.'));
      if (readers.count(node) > 0 && names[k] == node + ".weight") {
        by_input[node] = SumByInput(info, node, weight * gradient).contiguous();
      }
    }
    for (size_t g = 0; g < groups.size(); ++g) {
      double gate = 0;
      for (const auto& [node, channel] : groups[g].readers) gate += by_input.at(node).data_ptr<double>()[channel];
      sums.gates[g] += gate * gate;
    }
  }
  for (auto& [name, sum] : sums.mean_squares) sum /= static_cast<double>(count);
  for (double& gate : sums.gates) gate /= static_cast<double>(count);
  return sums;
}

std::vector<SetLosses> MeasureSetLosses(const WeightedNetwork& network, const NetworkInfo& info,
                                        const ChannelGroups& grouping, const std::vector<GroupSet>& sets,
                                        const std::vector<double>& importances, const ProbeBatch& images,
                                        int64_t points) {
  const double whole = MeanLoss(network, images);
  std::vector<SetLosses> losses;
  for (const GroupSet& set : sets) {
    const std::vector<size_t> order = ByImportance(set, importances);
    SetLosses& of_set = losses.emplace_back();
    of_set.gone = CountsOf(static_cast<int64_t>(order.size()), points);
    for (const int64_t gone : of_set.gone) {
      std::vector<bool> goes(importances.size(), false);
      for (int64_t k = 0; k < gone; ++k) goes[order[k]] = true;
      KeepTheLast(info, grouping, importances, goes);
      of_set.losses.push_back(gone == 0 ? whole : MeanLoss(WithoutGroups(network, info, grouping, goes), images));
    }
  }
  return losses;
}

}  // namespace prunelab
