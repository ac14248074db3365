#include "ml/compression/merge_compactors.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ml/compression/network_rewriter.h"
#include "ml/network/compactors.h"

namespace prunelab {
namespace {

// Gives the convolution the weight and bias of both; returns the number of its filters.
int64_t Merge(const NetworkInfo& info, const MergeableCompactor& before, WeightedNetwork& network) {
  const std::string &conv = info.node(before.conv).name(), &own = info.node(before.compactor).name();
  const auto get = [&](const std::string& of, const char* suffix) { return network.Get(of, suffix).to(at::kDouble); };
  const at::ScalarType dtype = network.Get(conv, "weight").scalar_type();
  std::vector<int64_t> shape = network.Get(conv, "weight").sizes().vec();
  at::Tensor weight = get(conv, "weight").flatten(1);
  at::Tensor bias = network.Has(conv, "bias") ? get(conv, "bias") : at::zeros({shape[0]}, at::kDouble);
  if (before.batch_norm >= 0) {
    const Node& norm = info.node(before.batch_norm);
    const at::Tensor scale =
        get(norm.name(), "weight") / (get(norm.name(), "running_var") + norm.batch_norm2d().epsilon()).sqrt();
    weight = weight * scale.unsqueeze(1);
    bias = (bias - get(norm.name(), "running_mean")) * scale + get(norm.name(), "bias");
  }
  const at::Tensor rows = get(own, "weight").flatten(1);
  bias = at::mv(rows, bias);
  if (network.Has(own, "bias")) bias = bias + get(own, "bias");
  shape[0] = rows.size(0);
  network.Set(conv, "weight", at::mm(rows, weight).view(shape).to(dtype));
  network.Set(conv, "bias", bias.to(dtype));
  return shape[0];
}

}  // namespace

void MergeCompactors(WeightedNetwork& network) {
  const NetworkInfo info = network.Info();
  std::map<int, MergeableCompactor> mergeable;  // by compactor
  std::set<int> batch_norms;                    // those in between
  for (const MergeableCompactor& found : MergeableCompactors(info)) {
    mergeable[found.compactor] = found;
    if (found.batch_norm >= 0) batch_norms.insert(found.batch_norm);
  }
  if (mergeable.empty()) return;
  NetworkRewriter rewriter(network);
  std::map<int, Node*> written;
  for (int i = 0; i < info.network().node_size(); ++i) {
    const auto found = mergeable.find(i);
    if (found == mergeable.end()) {
      if (batch_norms.count(i) == 0) written[i] = rewriter.AppendCopy(info.node(i));
      continue;
    }
    const int64_t filters = Merge(info, found->second, network);
    const int conv = found->second.conv;
    written.at(conv)->mutable_conv2d()->set_out_channels(filters);
    written.at(conv)->mutable_conv2d()->set_bias(true);
    rewriter.Rename(info.node(i).name(), rewriter.NewName(info.node(conv).name()));
  }
  rewriter.Finish();
}

}  // namespace prunelab
