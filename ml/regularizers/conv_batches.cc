#include "ml/regularizers/conv_batches.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <tuple>

#include "ml/kernels/parallel_for.h"
#include "ml/regularizers/live_filters.h"

namespace prunelab {
namespace {

// About half of a core's second-level cache: the rows and one temporary of their size.
constexpr int64_t kCpuGroupBytes = 400 << 10;

// Bool [layers, out], true where a layer has no filter mask or that is on; undefined if none has one. The masks are
// compared after they are stacked: on a GPU each comparison is a launch.
at::Tensor StackFilterMasks(const std::vector<RegularizedLayer>& layers, const ConvGroup& group) {
  const auto has_filter_mask = [&](size_t i) { return HasFilterMask(layers[i]); };
  if (std::none_of(group.begin(), group.end(), has_filter_mask)) return {};
  std::vector<at::Tensor> masks;
  for (const size_t i : group) {
    const at::Tensor& weight = layers[i].weight;
    masks.push_back(has_filter_mask(i) ? layers[i].mask.flatten() : at::ones({weight.size(0)}, weight.options()));
  }
  return at::stack(masks).ne(0);
}

}  // namespace

std::vector<ConvGroup> GroupConvs(const std::vector<RegularizedLayer>& layers, const std::set<std::string>& convs) {
  std::map<std::tuple<at::ScalarType, bool, std::vector<int64_t>>, size_t> open_group;
  std::vector<ConvGroup> groups;
  for (size_t i = 0; i < layers.size(); ++i) {
    const at::Tensor& weight = layers[i].weight;
    if (layers[i].kind != RegularizedLayer::Kind::kConv || convs.count(layers[i].node) == 0) continue;
    const bool channels_last = weight.is_contiguous(at::MemoryFormat::ChannelsLast);
    const auto [entry, added] =
        open_group.try_emplace({weight.scalar_type(), channels_last, weight.sizes().vec()}, groups.size());
    if (!added && weight.is_cpu()) {
      const int64_t bytes = static_cast<int64_t>(weight.nbytes()) * (groups[entry->second].size() + 1);
      if (bytes > kCpuGroupBytes) entry->second = groups.size();
    }
    if (entry->second == groups.size()) groups.emplace_back();
    groups[entry->second].push_back(i);
  }
  return groups;
}

void ForEachGroup(const std::vector<ConvGroup>& groups, const std::vector<RegularizedLayer>& layers,
                  const std::function<void(size_t)>& work) {
  const auto without_gradients = [&](int64_t g) {
    const at::NoGradGuard no_gradients;  // a thread's own
    work(static_cast<size_t>(g));
  };
  const int64_t count = static_cast<int64_t>(groups.size());
  if (count > 0 && layers[groups[0][0]].weight.is_cpu()) {
    ParallelFor(count, without_gradients);
  } else {
    for (int64_t g = 0; g < count; ++g) without_gradients(g);
  }
}

ConvBatch StackConvs(const std::vector<RegularizedLayer>& layers, const ConvGroup& group) {
  std::vector<at::Tensor> rows;
  for (const size_t i : group) rows.push_back(FilterRows(MaskedWeight(layers[i]).detach()));
  return {at::stack(rows), StackFilterMasks(layers, group)};
}

void StoreGradients(const at::Tensor& row_gradients, const std::vector<RegularizedLayer>& layers,
                    const ConvGroup& group, std::vector<at::Tensor>& gradients) {
  for (size_t k = 0; k < group.size(); ++k) {
    const RegularizedLayer& layer = layers[group[k]];
    at::Tensor gradient = FromFilterRows(row_gradients.select(0, static_cast<int64_t>(k)), layer.weight);
    if (HasWeightMask(layer)) gradient.mul_(layer.mask);
    gradients[group[k]] = gradient;
  }
}

}  // namespace prunelab
