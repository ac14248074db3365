#include "ml/pruning/mask_measures.h"

#include <ATen/ATen.h>

#include <vector>

#include "ml/base/check.h"

namespace prunelab {
namespace {

// [out] or [out * weights per filter], true where the mask is on.
at::Tensor FlatMask(const ConvInfo& conv, const at::Tensor& mask) {
  PRUNELAB_CHECK(mask.dim() == 4 && mask.size(0) == conv.filters &&
                 (mask.numel() == conv.filters || mask.numel() == conv.filters * conv.weights_per_filter))
      << conv.node << ": a mask of shape " << mask.sizes();
  return mask.reshape({-1}).ne(0);
}

void CheckNodes(const NetworkInfo& info, const std::map<std::string, at::Tensor>& masks) {
  size_t known = 0;
  for (const ConvInfo& conv : info.convs()) known += masks.count(conv.node);
  PRUNELAB_CHECK(known == masks.size()) << "a mask for a node that is no convolution";
}

double Fraction(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

MaskMeasures MeasureMasks(const NetworkInfo& info, const std::map<std::string, at::Tensor>& masks) {
  CheckNodes(info, masks);
  MaskMeasures measures;
  measures.filters = info.FilterCount();
  measures.conv_weights = info.ConvWeightCount();
  measures.parameters = info.ParameterCount();
  for (const ConvInfo& conv : info.convs()) {
    int64_t live = conv.filters;
    const auto found = masks.find(conv.node);
    if (found != masks.end()) {
      // One copy to the host a layer, then counting there.
      const at::Tensor mask = FlatMask(conv, found->second).cpu().contiguous();
      const bool* on = mask.const_data_ptr<bool>();
      const int64_t entries = mask.numel() / conv.filters;
      const int64_t weights_per_entry = conv.weights_per_filter / entries;
      for (int64_t filter = 0; filter < conv.filters; ++filter) {
        int64_t off = 0;
        for (int64_t entry = 0; entry < entries; ++entry) off += !on[filter * entries + entry];
        measures.masked_weights += off * weights_per_entry;
        live -= off == entries;
      }
    }
    measures.live_filters[conv.node] = live;
    measures.masked_filters += conv.filters - live;
  }
  measures.filter_sparsity = Fraction(measures.masked_filters, measures.filters);
  measures.weight_sparsity = Fraction(measures.masked_weights, measures.conv_weights);
  measures.paper_sparsity = Fraction(measures.masked_weights, measures.parameters);
  return measures;
}

at::Tensor CountMaskChanges(const NetworkInfo& info, const std::map<std::string, at::Tensor>& before,
                            const std::map<std::string, at::Tensor>& after) {
  CheckNodes(info, before);
  CheckNodes(info, after);
  // All layers in one tensor: a few kernels, not a few for each layer.
  std::vector<at::Tensor> was, is;
  for (const ConvInfo& conv : info.convs()) {
    const auto old = before.find(conv.node);
    const auto now = after.find(conv.node);
    if (old == before.end() && now == after.end()) continue;
    at::Tensor a = old != before.end() ? FlatMask(conv, old->second) : at::Tensor();
    at::Tensor b = now != after.end() ? FlatMask(conv, now->second) : at::Tensor();
    if (!a.defined()) a = at::ones_like(b);
    if (!b.defined()) b = at::ones_like(a);
    if (a.numel() < b.numel()) a = a.repeat_interleave(b.numel() / a.numel());
    if (b.numel() < a.numel()) b = b.repeat_interleave(a.numel() / b.numel());
    was.push_back(a);
    is.push_back(b);
  }
  if (was.empty()) return at::zeros({2}, at::kLong);
  const at::Tensor a = at::cat(was), b = at::cat(is);
  const at::Tensor differ = at::logical_xor(a, b);
  return at::stack({differ.sum(), at::logical_and(differ, b).sum()});
}

}  // namespace prunelab
