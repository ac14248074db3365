#include <ATen/ATen.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ml/base/status_macros.h"
#include "ml/regularizers/conv_batches.h"
#include "ml/regularizers/conv_selection.h"
#include "ml/regularizers/kernel_cov.pb.h"
#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/live_filters.h"

namespace prunelab {
namespace {

class KernelCovPenalty : public Regularizer {
 public:
  KernelCovPenalty(bool mean, std::set<std::string> convs) : mean_(mean), convs_(std::move(convs)) {}

  // By autograd, layer by layer.
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    PenaltySum sum;
    int64_t slices = 0;
    for (const RegularizedLayer& layer : layers) {
      if (layer.kind != RegularizedLayer::Kind::kConv || convs_.count(layer.node) == 0) continue;
      const at::Tensor live = LiveFilters(layer).nonzero().squeeze(1);
      const at::Tensor kernels = MaskedWeight(layer).index_select(0, live).flatten(0, 1);  // [slices, kh, kw]
      const at::Tensor centred = kernels - kernels.mean(2, /*keepdim=*/true);
      const at::Tensor covariance = at::bmm(centred, centred.transpose(1, 2)) / (kernels.size(2) - 1);
      sum.Add(covariance.triu().abs().sum());
      slices += kernels.size(0);
    }
    return mean_ && slices > 0 ? sum.value() / slices : sum.value();
  }

  // By the closed form, dead filters as zeros.
  Penalty ValueAndGradients(const std::vector<RegularizedLayer>& layers) const override {
    Penalty penalty;
    penalty.gradients.resize(layers.size());
    const std::vector<ConvGroup> groups = GroupConvs(layers, convs_);
    std::vector<at::Tensor> sums(groups.size()), slices(groups.size());
    ForEachGroup(groups, layers, [&](size_t g) {
      const ConvBatch batch = StackConvs(layers, groups[g]);
      const at::Tensor& weight = layers[groups[g][0]].weight;
      const at::Tensor live = Centre(batch.rows, batch.filter_mask).live.to(weight.scalar_type());
      slices[g] = live.sum() * weight.size(1);
      const at::Tensor gradients = at::zeros_like(batch.rows);
      sums[g] = AddKernels(batch.rows, live, weight, gradients);
      StoreGradients(gradients, layers, groups[g], penalty.gradients);
    });
    if (groups.empty()) return penalty;
    penalty.value = at::stack(sums).sum();
    if (mean_) {
      const at::Tensor factor = at::stack(slices).sum().clamp_min_(1).reciprocal_();
      penalty.value.mul_(factor);
      for (at::Tensor& gradient : penalty.gradients) {
        if (gradient.defined()) gradient.mul_(factor);
      }
    }
    return penalty;
  }

 private:
  // The sum over the slices of live filters, whose gradient is added to `gradients`. rows and gradients: [L, out, d] in
  // the order of memory of `weight`; live: [L, out], 0 and 1. Overwrites the rows.
  static at::Tensor AddKernels(const at::Tensor& rows, const at::Tensor& live, const at::Tensor& weight,
                               const at::Tensor& gradients) {
    const int64_t filters = live.numel(), inputs = weight.size(1), height = weight.size(2), width = weight.size(3);
    const auto as_kernels = [&](const at::Tensor& tensor) {  // [filters, in, kh, kw]
      return weight.is_contiguous(at::MemoryFormat::ChannelsLast)
                 ? tensor.view({filters, height, width, inputs}).permute({0, 3, 1, 2})
                 : tensor.view({filters, inputs, height, width});
    };
    const at::Tensor kernels = as_kernels(rows), kernel_gradients = as_kernels(gradients);
    const at::Tensor centred = kernels.sub_(kernels.mean(3, /*keepdim=*/true));
    const double normalisation = 1.0 / static_cast<double>(width - 1);
    PenaltySum sum;
    for (int64_t a = 0; a < height; ++a) {
      for (int64_t b = a; b < height; ++b) {
        const at::Tensor row_a = centred.select(2, a), row_b = centred.select(2, b);         // [filters, in, kw]
        const at::Tensor covariance = (row_a * row_b).sum(2).mul_(live.view({filters, 1}));  // times kw - 1
        sum.Add(covariance.abs().sum());
        const at::Tensor sign = covariance.sign().unsqueeze(2);
        kernel_gradients.select(2, a).addcmul_(sign, row_b, normalisation);
        kernel_gradients.select(2, b).addcmul_(sign, row_a, normalisation);
      }
    }
    return sum.value() * normalisation;
  }

  bool mean_;
  std::set<std::string> convs_;
};

absl::StatusOr<std::unique_ptr<Regularizer>> CreateKernelCov(const KernelCov& parameters, const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs, SelectConvs(
                                                             parameters.layers(), network,
                                                             [](const ConvInfo& conv) { return conv.kernel_width > 1; },
                                                             "a kernel at least 2 wide"));
  return std::make_unique<KernelCovPenalty>(parameters.scale() == KernelCov::MEAN, std::move(convs));
}
const bool registered = RegisterRegularizer(&CreateKernelCov);

}  // namespace
}  // namespace prunelab
