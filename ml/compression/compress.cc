#include "ml/compression/compress.h"

#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/compression/channel_analysis.h"
#include "ml/compression/constant_inputs.h"
#include "ml/compression/constant_output.h"
#include "ml/compression/dead_blocks.h"
#include "ml/compression/fold_batch_norm.h"
#include "ml/compression/merge_compactors.h"
#include "ml/compression/placing_convolutions.h"
#include "ml/compression/shrink.h"

namespace prunelab {
namespace {

struct Size {
  int64_t nodes = 0, parameters = 0, macs = 0;
};

Size SizeOf(const WeightedNetwork& network) {
  const NetworkInfo info = network.Info();
  return {info.network().node_size(), info.ParameterCount() + info.StoredConstantCount(), info.MacCount()};
}

bool IsLarger(const Size& a, const Size& b) { return a.parameters > b.parameters || a.macs > b.macs; }

bool IsSame(const Size& a, const Size& b) {
  return a.nodes == b.nodes && a.parameters == b.parameters && a.macs == b.macs;
}

PassSaving Saving(const char* pass, int round, const Size& before, const Size& after) {
  return {pass, round, before.nodes - after.nodes, before.parameters - after.parameters, before.macs - after.macs};
}

// The analysis of a network, made anew only if the network has changed since the last time.
class Analyses {
 public:
  const ChannelAnalysis& Of(const WeightedNetwork& network) {
    if (!analysis_ || !IsUnchanged(network)) {
      analysis_.emplace(network);
      of_ = network;  // its tensors are the same ones: passes put others in their places, and write to none
    }
    return *analysis_;
  }

 private:
  bool IsUnchanged(const WeightedNetwork& network) const {
    if (network.tensors.size() != of_.tensors.size()) return false;
    for (const auto& [name, tensor] : network.tensors) {
      const auto found = of_.tensors.find(name);
      if (found == of_.tensors.end() || !found->second.is_same(tensor)) return false;
    }
    return network.network.SerializeAsString() == of_.network.SerializeAsString();
  }

  std::optional<ChannelAnalysis> analysis_;
  WeightedNetwork of_;
};

constexpr char kFold[] = "batch norm";
constexpr char kPlacing[] = "placing";

// Runs one pass and adds what it saved.
void RunPass(WeightedNetwork& network, const char* name, int round, const std::function<void(WeightedNetwork&)>& run,
             std::vector<PassSaving>& savings) {
  const std::string text = network.network.SerializeAsString();
  const Size before = SizeOf(network);
  run(network);
  if (network.network.SerializeAsString() == text) return;
  const Size after = SizeOf(network);
  if (!IsSame(before, after)) savings.push_back(Saving(name, round, before, after));
}

// Repeats the passes until nothing changes, which takes at most about as many rounds as there are nodes. The function
// is the same after every pass, so if two passes ever undid each other's work, the last network would still be right.
std::vector<PassSaving> RunPasses(WeightedNetwork& network, const CompressionOptions& options) {
  Analyses analyses;
  std::vector<std::pair<const char*, std::function<void(WeightedNetwork&)>>> passes = {
      {"constant output", [&](WeightedNetwork& n) { ReplaceConstantOutput(n, analyses.Of(n)); }},
      {"dead blocks", [&](WeightedNetwork& n) { DropDeadBlocks(n, analyses.Of(n)); }},
      {"constant inputs", [&](WeightedNetwork& n) { FoldConstantInputs(n, analyses.Of(n), options.layout); }},
      {"shrink", [&](WeightedNetwork& n) { Shrink(n, analyses.Of(n), options.layout); }},
  };
  if (options.fold_batch_norm) passes.emplace_back(kFold, FoldBatchNorm);
  std::vector<PassSaving> savings;
  const std::string given = network.network.SerializeAsString();
  // Otherwise their zeros would be pruned, and they themselves stay.
  RunPass(network, kPlacing, 1, ConvolutionsToScatters, savings);
  const int most_rounds = network.network.node_size() + 8;
  for (int round = 1; round <= most_rounds; ++round) {
    const std::string before_round = network.network.SerializeAsString();
    for (const auto& [name, run] : passes) RunPass(network, name, round, run, savings);
    if (network.network.SerializeAsString() == before_round) break;
  }
  RunPass(
      network, kPlacing, 1, [&](WeightedNetwork& n) { ScattersToConvolutions(n, options.layout); }, savings);
  // Where convolutions became scatters and convolutions again, nothing was saved.
  return network.network.SerializeAsString() == given ? std::vector<PassSaving>() : savings;
}

}  // namespace

absl::StatusOr<WeightedNetwork> ApplyMasks(const NetworkInfo& info, const std::map<std::string, at::Tensor>& tensors,
                                           const std::map<std::string, at::Tensor>& masks) {
  WeightedNetwork network;
  network.network = info.network();
  for (const ParameterSpec& spec : info.parameters()) {
    const auto found = tensors.find(spec.name);
    PRUNELAB_CHECK(found != tensors.end()) << "no tensor \"" << spec.name << "\"";
    at::Tensor tensor = found->second.detach().to(at::kCPU);
    if (!at::isfinite(tensor).all().item<bool>()) {
      return absl::InvalidArgumentError(
          absl::StrCat(spec.name, " holds values that are not finite; such a network has nothing exact about it"));
    }
    network.tensors[spec.name] = tensor.contiguous();
  }
  for (const auto& [node, mask] : masks) {
    const at::Tensor weight = network.Get(node, "weight");
    network.Set(node, "weight", (weight * mask.to(weight.options())).contiguous());
  }
  MergeCompactors(network);
  return network;
}

std::vector<PassSaving> Compress(WeightedNetwork& network, const CompressionOptions& options, ChannelLayout* used) {
  PRUNELAB_CHECK(options.layout.all.multiple >= 1) << "multiple " << options.layout.all.multiple;
  for (const auto& [pixels, widths] : options.layout.by_pixels) {
    PRUNELAB_CHECK(widths.multiple >= 1) << "multiple " << widths.multiple << " for " << pixels << " pixels";
  }
  const WeightedNetwork before = network;
  const Size size_before = SizeOf(before);
  if (used != nullptr) *used = options.layout;
  std::vector<PassSaving> savings = RunPasses(network, options);
  if (!IsLarger(SizeOf(network), size_before)) return savings;
  network = before;
  if (!options.layout.IsPlain()) {
    CompressionOptions less = options;
    less.layout = options.layout.WithoutConvolutions();
    if (less.layout == options.layout) less.layout = {};
    return Compress(network, less, used);
  }
  if (!options.fold_batch_norm) return {};
  FoldBatchNorm(network);
  const PassSaving saving = Saving(kFold, 1, size_before, SizeOf(network));
  if (saving.nodes == 0) return {};
  return {saving};
}

}  // namespace prunelab
