#include "tools/inspection.h"

#include <ATen/ATen.h>

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "experiments/records/table.h"
#include "ml/compression/compressed_model.h"
#include "ml/network/compactors.h"
#include "ml/network/operator.h"
#include "ml/pruning/mask_measures.h"

namespace prunelab {
namespace {

std::string Percent(int64_t part, int64_t whole) {
  return whole == 0 ? "0.00 %"
                    : absl::StrFormat("%.2f %%", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string Ratio(int64_t original, int64_t now) {
  if (now == 0) return "-";
  return absl::StrFormat("%.2f", static_cast<double>(original) / static_cast<double>(now));
}

// The number of masked convolution weights, by node.
std::map<std::string, int64_t> MaskedWeights(const Model& model) {
  std::map<std::string, int64_t> masked;
  for (const auto& [node, mask] : model.masks()) {
    const int64_t each = model.Get(absl::StrCat(node, ".weight")).numel() / mask.numel();
    masked[node] = each * (mask.numel() - mask.ne(0).sum().item<int64_t>());
  }
  return masked;
}

std::string Inspect(const NetworkInfo& info, const Model* model) {
  const MaskMeasures measures =
      MeasureMasks(info, model == nullptr ? std::map<std::string, at::Tensor>() : model->masks());
  const std::map<std::string, int64_t> masked =
      model == nullptr ? std::map<std::string, int64_t>() : MaskedWeights(*model);
  std::map<std::string, int64_t> parameters;
  std::map<std::string, std::string> weight_shapes;
  for (const ParameterSpec& spec : info.parameters()) {
    int64_t count = 1;
    for (const int64_t size : spec.shape) count *= size;
    if (!spec.is_buffer) parameters[spec.node] += count;
    if (weight_shapes.count(spec.node) == 0) weight_shapes[spec.node] = absl::StrJoin(spec.shape, "x");
  }
  std::map<std::string, const ConvInfo*> convs;
  for (const ConvInfo& conv : info.convs()) convs[conv.node] = &conv;

  std::vector<std::vector<std::string>> rows = {
      {"layer", "kind", "output", "weight", "parameters", "MACs", "live filters", "weights masked"}};
  std::vector<std::string> dead;
  for (int i = 0; i < info.network().node_size(); ++i) {
    const Node& node = info.node(i);
    const std::string& name = node.name();
    if (weight_shapes.count(name) == 0) continue;
    const NodeShape& shape = info.shape(i);
    std::vector<std::string> row = {
        name, info.op(i).Name(),
        shape.flat ? absl::StrCat(shape.channels) : absl::StrCat(shape.channels, "x", shape.height, "x", shape.width),
        weight_shapes[name], absl::StrCat(parameters[name])};
    const int64_t macs = info.MacCount(i);
    row.push_back(macs > 0 ? absl::StrCat(macs) : "");
    if (convs.count(name) > 0) {
      const int64_t live = measures.live_filters.at(name), filters = convs[name]->filters;
      if (live == 0) dead.push_back(name);
      row.push_back(absl::StrCat(live, " of ", filters));
      const auto found = masked.find(name);
      row.push_back(Percent(found == masked.end() ? 0 : found->second, filters * convs[name]->weights_per_filter));
    }
    rows.push_back(row);
  }
  const int64_t macs = info.MacCount();
  rows.push_back({"all", "", "", "", absl::StrCat(measures.parameters), absl::StrCat(macs),
                  absl::StrCat(measures.filters - measures.masked_filters, " of ", measures.filters),
                  Percent(measures.masked_weights, measures.conv_weights)});
  std::string text = Aligned(rows);
  absl::StrAppend(&text, "\nfilters masked       ", measures.masked_filters, " of ", measures.filters, " (",
                  Percent(measures.masked_filters, measures.filters), ")\n");
  absl::StrAppend(&text, "conv weights masked  ", measures.masked_weights, " of ", measures.conv_weights, " (",
                  Percent(measures.masked_weights, measures.conv_weights), ")\n");
  absl::StrAppend(&text, "the paper's sparsity ", measures.masked_weights, " of all ", measures.parameters,
                  " parameters (", Percent(measures.masked_weights, measures.parameters), ")\n");
  // Includes stored constants, as removal does, and no compactors, which it merges.
  const NetworkInfo dense = WithoutCompactors(info);
  const int64_t all_parameters = dense.ParameterCount() + dense.StoredConstantCount(), all_macs = dense.MacCount();
  int64_t live_parameters = all_parameters, live_macs = all_macs;
  if (model != nullptr) {
    const RemovedSize removed = SizeAfterRemoval(*model);
    live_parameters = removed.parameters;
    live_macs = removed.macs;
  }
  absl::StrAppend(&text, "parameters           ", all_parameters, "; after exact removal ", live_parameters,
                  ", compression ratio ", Ratio(all_parameters, live_parameters), "\n");
  absl::StrAppend(&text, "MACs of one image    ", all_macs, "; after exact removal ", live_macs,
                  ", theoretical speed-up ", Ratio(all_macs, live_macs), "\n");
  if (!dead.empty()) absl::StrAppend(&text, "no live filter in    ", absl::StrJoin(dead, ", "), "\n");
  return text;
}

}  // namespace

std::string InspectNetwork(const NetworkInfo& info) { return Inspect(info, nullptr); }

std::string InspectModel(const Model& model) { return Inspect(model.info(), &model); }

}  // namespace prunelab
