#include "ml/pruning/testing/example_layers.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/base/check.h"
#include "ml/base/random.h"

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
  Network network;
  PRUNELAB_CHECK(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        node {
          name: "image"
          image { channels: 3 height: 8 width: 8 }
        }
        node {
          name: "stem"
          input: "image"
          conv2d { out_channels: 8 padding: 1 }
        }
        node {
          name: "block.conv1"
          input: "stem"
          conv2d { out_channels: 12 padding: 1 }
        }
        node {
          name: "block.conv2"
          input: "block.conv1"
          conv2d { out_channels: 8 padding: 1 }
        }
        node {
          name: "block.downsample"
          input: "stem"
          conv2d { out_channels: 8 kernel_height: 1 kernel_width: 1 }
        }
        node {
          name: "sum"
          input: "block.conv2"
          input: "block.downsample"
          add {}
        }
        node {
          name: "pool"
          input: "sum"
          global_average_pool {}
        }
        node {
          name: "flat"
          input: "pool"
          flatten {}
        }
        node {
          name: "fc"
          input: "flat"
          linear { out_features: 4 }
        }
      )pb",
      &network));
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(network);
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
