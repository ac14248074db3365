// The masks of dynamic_l1 (filters and weights) and of unstructured equal those of tools/reference/pruning_masks.py.
#include "ml/pruning/mask_reference.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/digest.h"
#include "ml/network/network.h"
#include "ml/pruning/dynamic_l1.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/unstructured.pb.h"

namespace prunelab {
namespace {

struct LayerShape {
  const char* node;
  const char* input;
  int64_t filters, inputs, kernel;
  double scale;
};

// Those of the generator.
constexpr LayerShape kLayers[] = {{"stem", "image", 16, 3, 3, 1},
                                  {"conv1", "stem", 32, 16, 3, 0.5},
                                  {"conv2", "conv1", 32, 32, 3, 0.25},
                                  {"shortcut", "stem", 32, 16, 1, 1}};

uint64_t SplitMix64(uint64_t index) {
  uint64_t z = (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

NetworkInfo Net() {
  Network network;
  const auto add = [&](const std::string& name, const std::vector<std::string>& inputs) {
    Node* node = network.add_node();
    node->set_name(name);
    for (const std::string& input : inputs) node->add_input(input);
    return node;
  };
  InputOp* image = add("image", {})->mutable_image();
  image->set_height(8);
  image->set_width(8);
  for (const LayerShape& layer : kLayers) {
    Conv2d* conv = add(layer.node, {layer.input})->mutable_conv2d();
    conv->set_out_channels(layer.filters);
    conv->set_kernel_height(layer.kernel);
    conv->set_kernel_width(layer.kernel);
    conv->set_padding(layer.kernel / 2);
  }
  add("sum", {"conv2", "shortcut"})->mutable_add();
  add("pool", {"sum"})->mutable_global_average_pool();
  add("flat", {"pool"})->mutable_flatten();
  add("fc", {"flat"})->mutable_linear()->set_out_features(10);
  return *NetworkInfo::Create(network);
}

std::vector<PrunableLayer> Layers(const std::string& kind, at::MemoryFormat format) {
  std::vector<PrunableLayer> layers;
  uint64_t index = 0;
  for (const LayerShape& shape : kLayers) {
    PrunableLayer layer;
    layer.node = shape.node;
    at::Tensor weight = at::empty({shape.filters, shape.inputs, shape.kernel, shape.kernel}, at::kFloat);
    float* values = weight.mutable_data_ptr<float>();
    for (int64_t i = 0; i < weight.numel(); ++i) {
      const uint64_t bits = SplitMix64(index++);
      const double value = kind == "continuous" ? (static_cast<double>(bits >> 40) / (1 << 23) - 1) * shape.scale
                                                : static_cast<double>(bits % 17) / 8 - 1;
      values[i] = static_cast<float>(value);
    }
    if (kind == "ties") {
      for (int64_t filter = 2; filter < shape.filters; filter += 3) weight[filter].copy_(weight[filter - 1].neg());
    }
    layer.weight = weight.contiguous(format);
    layers.push_back(layer);
  }
  return layers;
}

// The masks' entries in the order of layers and of the weights' indices, each a byte of value 0 or 1.
std::string Bytes(PruningStrategy& strategy, const StepPosition& position, const std::vector<PrunableLayer>& layers) {
  const absl::StatusOr<std::optional<MaskUpdate>> update = strategy.Update(position, layers);
  EXPECT_TRUE(update.ok()) << update.status();
  std::string bytes;
  if (!update.ok() || !update->has_value()) return bytes;
  for (const PrunableLayer& layer : layers) {
    const at::Tensor mask = (*update)->masks.at(layer.node).contiguous().to(at::kByte);
    bytes.append(reinterpret_cast<const char*>(mask.const_data_ptr<uint8_t>()), mask.numel());
  }
  return bytes;
}

class MaskReferenceTest : public ::testing::TestWithParam<MaskReference> {};

TEST_P(MaskReferenceTest, MasksAreTheSame) {
  const MaskReference& reference = GetParam();
  const NetworkInfo network = Net();
  PruningSetup setup;
  setup.network = &network;

  DynamicL1 filter_parameters, weight_parameters;
  filter_parameters.set_rate(reference.rate);
  weight_parameters.set_rate(reference.rate);
  weight_parameters.set_granularity(MaskUnit::WEIGHT);
  Unstructured unstructured_parameters;
  unstructured_parameters.set_rate(reference.rate);
  const auto by_filter = *CreatePruningStrategy(filter_parameters, setup);
  const auto by_weight = *CreatePruningStrategy(weight_parameters, setup);
  const auto unstructured = *CreatePruningStrategy(unstructured_parameters, setup);
  StepPosition first, fourth;
  fourth.iteration = 3;

  for (const at::MemoryFormat format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    const std::vector<PrunableLayer> layers = Layers(reference.kind, format);
    std::string filters = Bytes(*by_filter, fourth, layers);
    for (char& byte : filters) byte += '0';
    EXPECT_EQ(filters, reference.filters);
    for (const std::string& weights : {Bytes(*by_weight, fourth, layers), Bytes(*unstructured, first, layers)}) {
      EXPECT_EQ(std::count(weights.begin(), weights.end(), '\0'), reference.masked_weights);
      EXPECT_EQ(Sha256(weights), reference.weights_sha256);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, MaskReferenceTest, ::testing::ValuesIn(kMaskReferences),
                         [](const ::testing::TestParamInfo<MaskReference>& info) {
                           return absl::StrCat(info.param.kind, info.index);
                         });

}  // namespace
}  // namespace prunelab
