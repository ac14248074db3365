#include "ml/quantization/quantize.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/fold_batch_norm.h"
#include "ml/execution/plan.h"
#include "ml/network/operator.h"
#include "ml/network/value_grids.h"
#include "ml/quantization/integer_operators.h"
#include "ml/quantization/network_grids.h"

namespace prunelab {
namespace {

// The histogram of each of these nodes' values on the images.
absl::StatusOr<std::map<std::string, ValueHistogram>> Observe(const WeightedNetwork& network,
                                                              const std::vector<std::string>& nodes,
                                                              const std::vector<at::Tensor>& images) {
  const at::NoGradGuard no_gradients;
  Model model = ToModel(network, at::kCPU);
  ReferencePlan plan;
  ForwardOptions options;
  options.capture.insert(nodes.begin(), nodes.end());
  std::map<std::string, ValueHistogram> histograms;
  for (const bool counts : {false, true}) {
    for (const at::Tensor& batch : images) {
      const ForwardResult result = plan.Forward(model, batch, options);
      for (const std::string& node : nodes) {
        const at::Tensor& values = result.captured.at(node);
        if (counts) {
          histograms[node].AddCounts(values);
          continue;
        }
        if (!at::isfinite(values).all().item<bool>()) {
          return absl::DataLossError(
              absl::StrCat("the values of node \"", node, "\" on the calibration images are not finite"));
        }
        histograms[node].AddRange(values);
      }
    }
  }
  return histograms;
}

}  // namespace

absl::StatusOr<QuantizationReport> Quantize(WeightedNetwork& network, const std::vector<at::Tensor>& images,
                                            const QuantizeOptions& options) {
  if (IsQuantized(network.network)) return absl::InvalidArgumentError("the network is quantized already");
  if (images.empty()) return absl::InvalidArgumentError("there is no image to calibrate with");
  FoldBatchNorm(network);
  MakeConvolutions(network);
  const NetworkInfo info = network.Info();
  const std::vector<bool> wanted = NodesForGrids(info);
  std::vector<std::string> nodes;
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (wanted[i]) nodes.push_back(info.node(i).name());
  }
  PRUNELAB_ASSIGN_OR_RETURN(const auto histograms, Observe(network, nodes, images));
  std::map<std::string, Grid> grids;
  for (const auto& [node, histogram] : histograms) {
    grids[node] = GridOf(ChooseRange(histogram, options.ranges, options.activation_bits), options.activation_bits);
  }
  InsertGrids(network, grids, options.activation_bits);
  QuantizeWeights(network, {options.weight_bits, options.ranges.method, options.per_channel});
  return ReportOf(network);
}

QuantizationReport ReportOf(const WeightedNetwork& network) {
  const NetworkInfo info = network.Info();
  QuantizationReport report;
  for (int i = 0; i < info.network().node_size(); ++i) {
    const Node& node = info.node(i);
    report.grids += node.has_fake_quantize();
    report.quantized_layers += node.conv2d().has_weight_bits() || node.linear().has_weight_bits();
    if (!HasIntegerForm(node)) report.in_float.push_back(absl::StrCat(node.name(), " (", info.op(i).Name(), ")"));
  }
  return report;
}

}  // namespace prunelab
