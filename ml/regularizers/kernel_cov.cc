#include "ml/regularizers/kernel_cov.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ml/base/status_macros.h"
#include "ml/regularizers/conv_batches.h"
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
      if (layer.kind != RegularizedLayer::Kind::kConv || convs_.count(layer.node) == 0) continue;
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

  // By the closed form, dead filters as zeros (conv_batches.h).
  Penalty ValueAndGradients(const std::vector<RegularizedLayer>& layers) const override {
    const at::NoGradGuard no_gradients;
    Penalty penalty;
    penalty.gradients.resize(layers.size());
    at::Tensor slices;
    for (const ConvBatch& batch : BatchConvs(layers, convs_)) {
      AddBatch(batch, layers, penalty, slices);
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
  // Adds the sum over the batch's slices and their number, and sets the gradients of its layers.
  static void AddBatch(const ConvBatch& batch, const std::vector<RegularizedLayer>& layers, Penalty& penalty,
                       at::Tensor& slices) {
    const at::Tensor& weight = layers[batch.layers[0]].weight;
    const int64_t inputs = weight.size(1), height = weight.size(2), width = weight.size(3);
    const int64_t filters = batch.rows.size(0) * batch.rows.size(1);
    // [filters, in, kh, kw] in the weights' own order of memory.
    const auto as_kernels = [&](const at::Tensor& rows) {
      return weight.is_contiguous(at::MemoryFormat::ChannelsLast)
                 ? rows.view({filters, height, width, inputs}).permute({0, 3, 1, 2})
                 : rows.view({filters, inputs, height, width});
    };
    const at::Tensor live = Centre(batch.rows, batch.filter_mask).live.to(weight.scalar_type()).view({filters, 1});
    const at::Tensor kernels = as_kernels(batch.rows);
    const at::Tensor centred = kernels - kernels.mean(3, /*keepdim=*/true);
    const at::Tensor row_gradients = at::zeros_like(batch.rows);
    const at::Tensor kernel_gradients = as_kernels(row_gradients);
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
    batch.StoreGradients(row_gradients, layers, penalty.gradients);
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
