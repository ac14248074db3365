#include "ml/compression/inference.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"
#include "ml/compression/compressed_model.h"
#include "ml/execution/checkpoint.h"
#include "ml/network/value_grids.h"
#include "ml/onnx/checkpoint_file.h"

namespace prunelab {

absl::StatusOr<Inference> Inference::Open(const std::string& path) {
  PRUNELAB_ASSIGN_OR_RETURN(Safetensors file, ReadCheckpointFile(path, /*notes=*/nullptr));
  PRUNELAB_ASSIGN_OR_RETURN(NetworkInfo info, StoredNetwork(file.metadata, path));
  PRUNELAB_ASSIGN_OR_RETURN(const Model model,
                            ModelOf(std::move(file), path, std::move(info), {}, at::kFloat, at::kCPU, nullptr));
  absl::StatusOr<WeightedNetwork> network = ToWeightedNetwork(model);
  if (!network.ok()) return WithPrefix(path, network.status());
  return Inference(*network);
}

// Folding would move the values of a quantized network off their grids.
Inference::Inference(const WeightedNetwork& network)
    : model_(IsQuantized(network.network) ? ToModel(network, at::kCPU) : ToInferenceModel(network, at::kCPU)),
      plan_(std::make_unique<SkippingPlan>()) {}

absl::StatusOr<std::vector<at::Tensor>> Inference::RunAll(const at::Tensor& images) {
  const NodeShape& shape = model_.info().input_shape();
  const std::vector<int64_t> wanted = {shape.channels, shape.height, shape.width};
  if (images.dim() != 4 || images.size(0) < 1 || images.sizes().slice(1) != at::IntArrayRef(wanted)) {
    std::string given;
    for (const int64_t size : images.sizes()) absl::StrAppend(&given, given.empty() ? "" : ", ", size);
    return absl::InvalidArgumentError(absl::StrCat("images have the shape [", given, "]; the network takes [N, ",
                                                   shape.channels, ", ", shape.height, ", ", shape.width, "]"));
  }
  const at::NoGradGuard no_gradients;
  ForwardOptions options;
  options.prepared = &prepared_;
  const at::Tensor input = images.to(model_.device(), model_.dtype()).contiguous(at::MemoryFormat::ChannelsLast);
  return plan_->Forward(model_, input, options).results;
}

absl::StatusOr<at::Tensor> Inference::Run(const at::Tensor& images) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<at::Tensor> results, RunAll(images));
  return results[0];
}

}  // namespace prunelab
