#include "experiments/runs/initial_weights.h"

#include <ATen/ATen.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/digest.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/execution/model.h"
#include "ml/network/compactors.h"
#include "ml/onnx/checkpoint_file.h"

namespace prunelab {

absl::StatusOr<WeightsFile> ReadWeightsFile(const std::string& path) {
  WeightsFile weights;
  const absl::StatusOr<std::string> bytes = ReadFile(UserPath(path), uint64_t{1} << 36);
  if (absl::IsNotFound(bytes.status())) return NoSuchFile(path);
  PRUNELAB_RETURN_IF_ERROR(bytes.status());
  PRUNELAB_ASSIGN_OR_RETURN(weights.file, ParseCheckpointFile(*bytes, path, UserPath(path), &weights.notes));
  // Of an ONNX file the weights may lie in others beside it.
  const bool onnx = LooksLikeOnnx(path, *bytes);
  weights.digest = Sha256(onnx ? SerializeSafetensors(weights.file) : *bytes);
  return weights;
}

absl::StatusOr<InitialWeights> ReadInitialWeights(const RunConfig& config) {
  if (config.initial_weights().empty()) return InitialWeights();
  PRUNELAB_ASSIGN_OR_RETURN(WeightsFile read, ReadWeightsFile(config.initial_weights()));
  return InitialWeights{std::move(read.file), std::move(read.digest), std::move(read.notes)};
}

absl::StatusOr<Weights> TakeInitialWeights(const RunConfig& config, const Safetensors& file,
                                           const NetworkInfo& network) {
  WeightsOptions options;
  options.prefix = config.initial_weights_prefix();
  options.fresh = {config.fresh_weights().begin(), config.fresh_weights().end()};
  // Compactors are new, unless the weights are those of a run that had them.
  for (const Node& node : network.network().node()) {
    if (IsCompactor(node)) options.fresh_if_missing.push_back(absl::StrCat(node.name(), ".weight"));
  }
  options.prefix_setting = "initial_weights_prefix: \"$0\"";
  options.fresh_setting = "fresh_weights: \"$0\"";
  return TakeWeights(file, config.initial_weights(), network, options);
}

absl::StatusOr<Safetensors> StartingWeights(const RunConfig& config, int64_t seed, const Safetensors& file,
                                            const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(Weights weights, TakeInitialWeights(config, file, network));
  if (weights.fresh.empty()) return std::move(weights.file);
  Model fresh = Model::Create(network, at::kFloat, at::kCPU);
  InitializeParameters(fresh, static_cast<uint64_t>(seed));
  for (const std::string& name : weights.fresh) weights.file.tensors[name] = fresh.Get(name).detach();
  return std::move(weights.file);
}

}  // namespace prunelab
