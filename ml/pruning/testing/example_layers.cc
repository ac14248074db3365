#include "ml/pruning/testing/example_layers.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/random.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

at::Tensor NormalTensor(at::IntArrayRef shape, RandomStream stream) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  float* values = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = static_cast<float>(stream.Normal());
  return tensor;
}

}  // namespace

NetworkInfo ExampleNetwork() {
  NetworkWriter net;
  net.Image(3, 8, 8);
  net.Conv("stem", "image", {8, 3, 1, 1});
  net.Conv("block.conv1", "stem", {12, 3, 1, 1});
  net.Conv("block.conv2", "block.conv1", {8, 3, 1, 1});
  net.Conv("block.downsample", "stem", {8, 1});
  net.Add("sum", {"block.conv2", "block.downsample"});
  net.GlobalAveragePool("pool", "sum");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 4);
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(net.Take());
  PRUNELAB_CHECK(info.ok()) << info.status();
  return *std::move(info);
}

std::vector<PrunableLayer> ExampleLayers(Granularity granularity, uint64_t seed) {
  const NetworkInfo info = ExampleNetwork();
  std::vector<PrunableLayer> layers;
  for (const ParameterSpec& parameter : info.parameters()) {
    if (parameter.shape.size() != 4) continue;
    PrunableLayer layer;
    layer.node = parameter.node;
    layer.weight = NormalTensor(parameter.shape, RandomStream(seed, absl::StrCat("weight/", parameter.node)));
    layer.gradient = NormalTensor(parameter.shape, RandomStream(seed, absl::StrCat("gradient/", parameter.node)));
    layer.mask =
        granularity == Granularity::kFilter ? at::ones({parameter.shape[0], 1, 1, 1}) : at::ones_like(layer.weight);
    layers.push_back(std::move(layer));
  }
  return layers;
}

int64_t MaskedCount(const std::map<std::string, at::Tensor>& masks) {
  int64_t count = 0;
  for (const auto& [node, mask] : masks) count += mask.eq(0).sum().item<int64_t>();
  return count;
}

}  // namespace prunelab
