#include "ml/regularizers/kernel_cov.h"

#include <ATen/ATen.h>

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ml/base/status_macros.h"
#include "ml/regularizers/conv_selection.h"
#include "ml/regularizers/live_filters.h"

namespace prunelab {
namespace {

void Accumulate(at::Tensor& sum, const at::Tensor& term) { sum = sum.defined() ? sum + term : term; }

class KernelCovPenalty : public Regularizer {
 public:
  KernelCovPenalty(bool mean, std::set<std::string> convs) : mean_(mean), convs_(std::move(convs)) {}

  // By autograd, layer by layer.
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    at::Tensor value;
    int64_t slices = 0;
    for (const RegularizedLayer& layer : layers) {
      if (!Selected(layer)) continue;
      const at::Tensor live = LiveFilters(layer).nonzero().squeeze(1);
      const at::Tensor kernels = MaskedWeight(layer).index_select(0, live).flatten(0, 1);  // [slices, kh, kw]
      const at::Tensor centred = kernels - kernels.mean(2, /*keepdim=*/true);
      const at::Tensor covariance = at::bmm(centred, centred.transpose(1, 2)) / (kernels.size(2) - 1);
      Accumulate(value, covariance.triu().abs().sum());
      slices += kernels.size(0);
    }
    if (mean_ && slices > 0) value = value / slices;
    return value;
  }

  // By the closed form; layers of one shape together, dead filters as zeros, so that nothing waits for the device.
  Penalty ValueAndGradients(const std::vector<RegularizedLayer>& layers) const override {
    const at::NoGradGuard no_gradients;
    Penalty penalty;
    penalty.gradients.resize(layers.size());
    at::Tensor slices;
    for (const std::vector<size_t>& group : GroupByShape(layers)) {
      AddGroup(layers, group, penalty, slices);
    }
    if (mean_ && slices.defined()) {
      const at::Tensor factor = slices.clamp_min(1).reciprocal();
      penalty.value = penalty.value * factor;
      for (at::Tensor& gradient : penalty.gradients) {
        if (gradient.defined()) gradient.mul_(factor);
      }
    }
    return penalty;
  }

 private:
  bool Selected(const RegularizedLayer& layer) const {
    return layer.kind == RegularizedLayer::Kind::kConv && convs_.count(layer.node) > 0;
  }

  std::vector<std::vector<size_t>> GroupByShape(const std::vector<RegularizedLayer>& layers) const {
    std::map<std::tuple<at::ScalarType, bool, std::vector<int64_t>>, size_t> group_of;
    std::vector<std::vector<size_t>> groups;
    for (size_t i = 0; i < layers.size(); ++i) {
      const at::Tensor& weight = layers[i].weight;
      if (!Selected(layers[i]) || weight.numel() == 0) continue;
      const bool channels_last = weight.is_contiguous(at::MemoryFormat::ChannelsLast);
      const auto [entry, added] =
          group_of.try_emplace({weight.scalar_type(), channels_last, weight.sizes().vec()}, groups.size());
      if (added) groups.emplace_back();
      groups[entry->second].push_back(i);
    }
    return groups;
  }

  void AddGroup(const std::vector<RegularizedLayer>& layers, const std::vector<size_t>& group, Penalty& penalty,
                at::Tensor& slices) const {
    std::vector<at::Tensor> rows, live_of;
    for (const size_t i : group) {
      rows.push_back(FilterRows(MaskedWeight(layers[i]).detach()));
      live_of.push_back(LiveFilters(layers[i]));
    }
    const at::Tensor& first = layers[group[0]].weight;
    const int64_t out = first.size(0), inputs = first.size(1), height = first.size(2), width = first.size(3);
    const int64_t filters = out * static_cast<int64_t>(group.size());
    const at::Tensor live = at::cat(live_of).to(first.scalar_type()).view({filters, 1});
    const bool channels_last = first.is_contiguous(at::MemoryFormat::ChannelsLast);
    // [filters, in, kh, kw] in the weights' own order of memory.
    const auto as_kernels = [&](const at::Tensor& stacked) {
      return channels_last ? stacked.view({filters, height, width, inputs}).permute({0, 3, 1, 2})
                           : stacked.view({filters, inputs, height, width});
    };
    const at::Tensor stacked = at::cat(rows);  // [filters, d]
    const at::Tensor kernels = as_kernels(stacked);
    const at::Tensor centred = kernels.sub_(kernels.mean(3, /*keepdim=*/true));
    const at::Tensor gradients = at::zeros_like(stacked);
    const at::Tensor kernel_gradients = as_kernels(gradients);
    const double normalisation = 1.0 / static_cast<double>(width - 1);
    at::Tensor value;
    for (int64_t a = 0; a < height; ++a) {
      for (int64_t b = a; b < height; ++b) {
        const at::Tensor row_a = centred.select(2, a), row_b = centred.select(2, b);  // [filters, in, kw]
        const at::Tensor covariance = (row_a * row_b).sum(2).mul_(live);              // times kw - 1
        Accumulate(value, covariance.abs().sum());
        const at::Tensor sign = covariance.sign().unsqueeze(2);
        kernel_gradients.select(2, a).addcmul_(sign, row_b, normalisation);
        kernel_gradients.select(2, b).addcmul_(sign, row_a, normalisation);
      }
    }
    Accumulate(penalty.value, value * normalisation);
    Accumulate(slices, live.sum() * inputs);
    for (size_t k = 0; k < group.size(); ++k) {
      const RegularizedLayer& layer = layers[group[k]];
      at::Tensor gradient = FromFilterRows(gradients.narrow(0, static_cast<int64_t>(k) * out, out), layer.weight);
      if (HasWeightMask(layer)) gradient.mul_(layer.mask);
      penalty.gradients[group[k]] = gradient;
    }
  }

  bool mean_;
  std::set<std::string> convs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Regularizer>> CreateKernelCov(const KernelCov& parameters, const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs, SelectConvs(
                                                             parameters.layers(), network,
                                                             [](const ConvInfo& conv) { return conv.kernel_width > 1; },
                                                             "a kernel at least 2 wide"));
  return std::make_unique<KernelCovPenalty>(parameters.scale() == KernelCov::MEAN, std::move(convs));
}

}  // namespace prunelab
