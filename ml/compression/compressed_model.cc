#include "ml/compression/compressed_model.h"

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <utility>

#include "ml/base/check.h"
#include "ml/base/status_macros.h"
#include "ml/compression/channel_analysis.h"
#include "ml/compression/fold_batch_norm.h"

namespace prunelab {

namespace {

// A model's tensors by name, each as computed by `value`.
template <typename F>
std::map<std::string, at::Tensor> Tensors(const Model& model, F value) {
  std::map<std::string, at::Tensor> tensors;
  for (const NamedTensor& parameter : model.parameters()) tensors[parameter.name] = value(parameter.tensor);
  for (const NamedTensor& buffer : model.buffers()) tensors[buffer.name] = value(buffer.tensor);
  return tensors;
}

template <typename F>
std::map<std::string, at::Tensor> Masks(const Model& model, F value) {
  std::map<std::string, at::Tensor> masks;
  for (const auto& [node, mask] : model.masks()) masks[node] = value(mask.to(at::kCPU));
  return masks;
}

}  // namespace

absl::StatusOr<WeightedNetwork> ToWeightedNetwork(const Model& model) {
  const auto as_it_is = [](const at::Tensor& tensor) { return tensor; };
  return ApplyMasks(model.info(), Tensors(model, as_it_is), Masks(model, as_it_is));
}

Model ToModel(const WeightedNetwork& network, at::Device device) {
  Model model = Model::Create(network.Info(), network.DType(), device);
  for (const auto& [name, tensor] : network.tensors) model.Get(name).detach().copy_(tensor);
  return model;
}

Model ToInferenceModel(WeightedNetwork network, at::Device device) {
  FoldBatchNorm(network);
  return ToModel(network, device);
}

absl::StatusOr<CompressedModel> CompressModel(const Model& model, const CompressionOptions& options) {
  PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork network, ToWeightedNetwork(model));
  std::vector<PassSaving> savings = Compress(network, options);
  return CompressedModel{ToModel(network, model.device()), std::move(savings)};
}

RemovedSize SizeAfterRemoval(const Model& model) {
  const auto finite = [](const at::Tensor& tensor) {
    const at::Tensor values = tensor.detach().to(at::kCPU);
    return values.is_floating_point() ? at::where(at::isfinite(values), values, at::ones({}, values.options()))
                                      : values;
  };
  absl::StatusOr<WeightedNetwork> network = ApplyMasks(model.info(), Tensors(model, finite), Masks(model, finite));
  PRUNELAB_CHECK(network.ok()) << network.status().message();
  // If everything is live, there is nothing to remove.
  const ChannelAnalysis analysis(*network);
  bool all_live = true;
  for (int i = 0; i < analysis.info.network().node_size(); ++i) {
    all_live = all_live && analysis.Kept(i).all().item<bool>();
  }
  if (!all_live) Compress(*network, {});
  const NetworkInfo info = network->Info();
  return {info.ParameterCount() + info.StoredConstantCount(), info.MacCount()};
}

}  // namespace prunelab
