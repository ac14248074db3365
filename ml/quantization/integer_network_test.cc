// Quantized networks in integers against the same networks in float64, operator by operator: for the same places before
// it, each operator must give the same places, but for values within rounding of the middle between two.
#include "ml/quantization/integer_network.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/compression/compress.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/run_node.h"
#include "ml/models/densenet.h"
#include "ml/models/efficientnet.h"
#include "ml/models/mobilenet_v2.h"
#include "ml/models/mobilenet_v3.h"
#include "ml/models/resnet_cifar.h"
#include "ml/models/shufflenet_v2.h"
#include "ml/models/vgg.h"
#include "ml/network/fake_quantize.h"
#include "ml/network/network_writer.h"
#include "ml/quantization/integer_engine.h"
#include "ml/quantization/quantize.h"

namespace prunelab {
namespace {

using testing::AllOf;
using testing::HasSubstr;

at::Tensor Images(const NodeShape& shape, int64_t count, double phase) {
  return at::linspace(-1, 1, count * shape.channels * shape.height * shape.width, at::kDouble)
      .mul(377)
      .add(phase)
      .sin()
      .mul(1.5)
      .view({count, shape.channels, shape.height, shape.width});
}

struct Counts {
  int64_t places = 0, differing = 0;
};

// `network` is quantized, in float64.
void CompareOperators(const WeightedNetwork& network, const at::Tensor& images, Counts& counts) {
  const at::NoGradGuard no_gradients;
  const absl::StatusOr<IntegerNetwork> integers = IntegerNetwork::Create(network);
  ASSERT_TRUE(integers.ok()) << integers.status();
  Model model = ToModel(network, at::kCPU);
  const NetworkInfo& info = model.info();
  std::set<std::string> names;
  for (const Node& node : info.network().node()) {
    if (node.has_fake_quantize()) names.insert(node.name());
  }
  const IntegerResult result = integers->Run(images, names);
  ASSERT_EQ(result.places.size(), names.size());
  std::vector<at::Tensor> values;
  for (int i = 0; i < info.network().node_size(); ++i) {
    const Node& node = info.node(i);
    std::vector<at::Tensor> inputs;
    for (const int input : info.inputs(i)) inputs.push_back(values[input]);
    if (i == info.image()) {
      values.push_back(images);
    } else if (!node.has_fake_quantize()) {
      values.push_back(RunNode(model, node, inputs, {}, /*overwrite=*/false));
    } else {
      const at::Tensor scale = model.Get(node.name() + ".scale"), zero_point = model.Get(node.name() + ".zero_point");
      const at::Tensor wanted = GridPlaces(node.fake_quantize(), inputs[0], scale, zero_point);
      const at::Tensor got = result.places.at(node.name()).to(at::kDouble);
      ASSERT_EQ(got.sizes(), wanted.sizes()) << node.name();
      const at::Tensor difference = (got - wanted).abs();
      EXPECT_LE(difference.max().item<double>(), 1) << node.name();
      const at::Tensor exact =
          (inputs[0] / scale + zero_point).clamp(0, static_cast<double>(LastPlace(node.fake_quantize())));
      const at::Tensor clear = (exact - exact.floor() - 0.5).abs() > 1e-3;
      EXPECT_EQ((difference * clear.to(at::kDouble)).max().item<double>(), 0) << node.name();
      counts.places += got.numel();
      counts.differing += difference.ne(0).sum().item<int64_t>();
      values.push_back((got - zero_point) * scale);
    }
  }
  // The engine is the definition.
  IntegerEngine engine(*integers, images.size(0));
  for (int call = 0; call < 2; ++call) {
    const std::vector<at::Tensor> fast = engine.Run(images.to(at::kFloat));
    const std::vector<at::Tensor> defined = integers->Run(images.to(at::kFloat), {}).results;
    for (size_t k = 0; k < fast.size(); ++k) {
      EXPECT_TRUE(at::equal(fast[k], defined[k])) << "output " << k << ", call " << call << "\n"
                                                  << fast[k] - defined[k] << info.network().DebugString();
    }
  }
  for (size_t k = 0; k < info.outputs().size(); ++k) {
    const at::Tensor wanted = values[info.outputs()[k]];
    const double largest = wanted.abs().max().item<double>();
    EXPECT_LE((result.results[k].to(at::kDouble) - wanted).abs().max().item<double>(), 1e-6 * largest + 1e-30) << k;
  }
}

WeightedNetwork Quantized(const NetworkInfo& info, uint64_t seed, const QuantizeOptions& options,
                          QuantizationReport* report) {
  Model model = RandomModel(info, at::kDouble, seed);
  SetRandomMasks(model, MaskKind::kUniform, seed);
  WeightedNetwork network = *ToWeightedNetwork(model);
  absl::StatusOr<QuantizationReport> done = Quantize(network, {Images(info.input_shape(), 8, 0)}, options);
  EXPECT_TRUE(done.ok()) << done.status();
  *report = *std::move(done);
  return network;
}

TEST(IntegerNetworkTest, RandomNetworks) {
  Counts counts;
  int integer = 0, refused = 0;
  std::set<int> operators;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    const NetworkInfo info = *NetworkInfo::Create(RandomNetwork(seed));
    QuantizeOptions options;
    options.ranges.method = static_cast<RangeMethod>(seed % 3);
    options.activation_bits = seed % 5 == 0 ? 4 : 8;
    options.weight_bits = seed % 7 == 0 ? 3 : 8;
    QuantizationReport report;
    const WeightedNetwork network = Quantized(info, seed, options, &report);
    if (!report.in_float.empty()) {
      ++refused;
      EXPECT_THAT(IntegerNetwork::Create(network).status().message(), HasSubstr("has no integer form"));
      continue;
    }
    ++integer;
    for (const Node& node : network.network.node()) operators.insert(node.op_case());
    CompareOperators(network, Images(info.input_shape(), 3, 1), counts);
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(integer, 40);
  EXPECT_GT(refused, 60);
  EXPECT_GT(operators.size(), 15u);
  EXPECT_LT(counts.differing, counts.places / 1000) << "of " << counts.places;
}

template <typename Parameters>
void CheckFamily(absl::StatusOr<Network> (*create)(const Parameters&, const ImageDefaults&), const std::string& text) {
  Parameters parameters;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &parameters)) << text;
  const NetworkInfo info = *NetworkInfo::Create(*create(parameters, {}));
  Counts counts;
  QuantizationReport report;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const WeightedNetwork network = Quantized(info, seed, {}, &report);
    EXPECT_TRUE(report.in_float.empty());
    CompareOperators(network, Images(info.input_shape(), 2, 1), counts);
  }
  EXPECT_GT(counts.places, 1000);
}

TEST(IntegerNetworkTest, ResNet) { CheckFamily(CreateResNetCifar, "depth: 20 width: 6 image_size: 12"); }
// What exact removal leaves: streams that some channels are scattered into, and stored constants.
TEST(IntegerNetworkTest, RemovedResNet) {
  ResNetCifar parameters;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString("depth: 20 width: 6 image_size: 12", &parameters));
  const NetworkInfo info = *NetworkInfo::Create(*CreateResNetCifar(parameters, {}));
  Counts counts;
  bool scatters = false;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    Model model = RandomModel(info, at::kDouble, seed);
    SetRandomMasks(model, MaskKind::kUniform, seed);
    WeightedNetwork network = *ToWeightedNetwork(model);
    Compress(network, {});
    const absl::StatusOr<QuantizationReport> report = Quantize(network, {Images(info.input_shape(), 8, 0)}, {});
    ASSERT_TRUE(report.ok()) << report.status();
    for (const Node& node : network.network.node()) scatters = scatters || node.has_scatter();
    CompareOperators(network, Images(info.input_shape(), 3, 1), counts);
    EXPECT_THAT(IntegerEngine(*IntegerNetwork::Create(network), 2).plain_nodes(), testing::IsEmpty());
  }
  EXPECT_TRUE(scatters);
}

TEST(IntegerNetworkTest, Vgg) { CheckFamily(CreateVgg, "depth: 11 width: 4 image_size: 16"); }
TEST(IntegerNetworkTest, MobileNetV2) {
  CheckFamily(CreateMobileNetV2, "stem: CIFAR width_multiplier: 0.1 image_size: 8 classes: 5");
}
TEST(IntegerNetworkTest, MobileNetV3) {
  CheckFamily(CreateMobileNetV3, "variant: SMALL stem: CIFAR width_multiplier: 0.1 image_size: 8 classes: 5");
}
TEST(IntegerNetworkTest, EfficientNet) {
  CheckFamily(CreateEfficientNet, "stem: CIFAR width_multiplier: 0.1 depth_multiplier: 0.5 image_size: 8 classes: 5");
}
TEST(IntegerNetworkTest, DenseNet) {
  CheckFamily(CreateDenseNet, "stem: CIFAR depth: 22 growth: 3 image_size: 8 classes: 5");
}
TEST(IntegerNetworkTest, ShuffleNetV2) {
  CheckFamily(CreateShuffleNetV2, "variant: X0_5 stem: CIFAR image_size: 8 classes: 5");
}

// conv -> relu -> fc, quantized.
WeightedNetwork Small() {
  NetworkWriter net;
  std::string x = net.Image(2, 4, 4);
  x = net.Relu("relu", net.Conv("conv", x, {3, 3, 1, 1, /*bias=*/true}));
  net.Linear("fc", net.Flatten("flat", x), 4);
  const NetworkInfo info = *NetworkInfo::Create(net.Take());
  WeightedNetwork network = *ToWeightedNetwork(RandomModel(info, at::kFloat, 1));
  EXPECT_TRUE(Quantize(network, {Images(info.input_shape(), 8, 0).to(at::kFloat)}, {}).ok());
  return network;
}

std::string Refusal(const WeightedNetwork& network) {
  return std::string(IntegerNetwork::Create(network).status().message());
}

TEST(IntegerNetworkTest, WhatIsNotQuantizedIsRefused) {
  ASSERT_TRUE(IntegerNetwork::Create(Small()).ok());
  WeightedNetwork network = Small();
  network.network.mutable_node(2)->mutable_conv2d()->clear_weight_bits();
  ASSERT_TRUE(network.network.node(2).has_conv2d());
  network.tensors.erase("conv.weight_scale");
  EXPECT_THAT(Refusal(network), AllOf(HasSubstr("node \"conv\""), HasSubstr("weight_bits is unset")));

  network = Small();
  network.tensors["conv.weight"] = network.tensors["conv.weight"].clone();
  network.tensors["conv.weight"][2][1][0][0] += 0.3 * network.tensors["conv.weight_scale"][2].item<float>();
  EXPECT_THAT(Refusal(network),
              AllOf(HasSubstr("node \"conv\""), HasSubstr("channel 2"), HasSubstr("whole multiples")));

  network = Small();
  network.tensors["fc.bias"] = network.tensors["fc.bias"] + 1e9;
  EXPECT_THAT(Refusal(network), AllOf(HasSubstr("node \"fc\""), HasSubstr("32 bits")));

  network = Small();
  network.tensors["conv.weight_scale"] = network.tensors["conv.weight_scale"] * 1e20;
  network.tensors["conv.weight"] = network.tensors["conv.weight"] * 1e20;
  EXPECT_THAT(Refusal(network), AllOf(HasSubstr("node \"conv\""), HasSubstr("times that of its result")));

  NetworkWriter net;
  net.Linear("fc", net.Flatten("flat", net.Relu("relu", net.Image(1, 2, 2))), 2);
  EXPECT_THAT(Refusal(*ToWeightedNetwork(RandomModel(*NetworkInfo::Create(net.Take()), at::kFloat, 1))),
              HasSubstr("is not put on a grid"));
}

TEST(IntegerNetworkTest, MaskedWeightsStayZero) {
  const NetworkInfo info = *NetworkInfo::Create(RandomNetwork(3));
  Model model = RandomModel(info, at::kFloat, 3);
  SetRandomMasks(model, MaskKind::kWeights, 3);
  WeightedNetwork network = *ToWeightedNetwork(model);
  const WeightedNetwork before = network;
  ASSERT_TRUE(Quantize(network, {Images(info.input_shape(), 4, 0).to(at::kFloat)}, {}).ok());
  int64_t masked = 0;
  for (const ConvInfo& conv : info.convs()) {
    const at::Tensor zeros = before.Get(conv.node, "weight") == 0;
    masked += zeros.sum().item<int64_t>();
    EXPECT_TRUE((network.Get(conv.node, "weight").masked_select(zeros) == 0).all().item<bool>()) << conv.node;
  }
  EXPECT_GT(masked, 0);
}

TEST(QuantizeTest, GridsAreWhereIntegersNeedThem) {
  NetworkWriter net;
  std::string x = net.Relu("relu1", net.BatchNorm("bn1", net.Conv("conv1", net.Image(1, 8, 8), {4, 3, 1, 1})));
  const std::string y = net.BatchNorm("bn2", net.Conv("conv2", net.MaxPool("pool", x, 3, 1, 1), {4, 3, 1, 1}));
  x = net.Relu("relu2", net.Add("add", {x, y}));
  net.Classifier("fc", x, 3);
  WeightedNetwork network = *ToWeightedNetwork(RandomModel(*NetworkInfo::Create(net.Take()), at::kFloat, 1));
  const absl::StatusOr<QuantizationReport> report = Quantize(network, {Images({1, 8, 8}, 4, 0).to(at::kFloat)}, {});
  ASSERT_TRUE(report.ok()) << report.status();
  std::vector<std::string> order;
  for (const Node& node : network.network.node()) order.push_back(node.name());
  EXPECT_THAT(order, testing::ElementsAre("image", "image.quantize", "conv1", "relu1", "relu1.quantize", "pool",
                                          "conv2", "conv2.quantize", "add", "relu2", "relu2.quantize", "avgpool",
                                          "avgpool.quantize", "flatten", "fc"));
  EXPECT_EQ(report->grids, 5);
  EXPECT_EQ(report->quantized_layers, 3);
  EXPECT_EQ(Quantize(network, {Images({1, 8, 8}, 4, 0).to(at::kFloat)}, {}).status().message(),
            "the network is quantized already");
}

TEST(QuantizeTest, ImagesAreNeededAndMustBeFinite) {
  NetworkWriter net;
  net.Classifier("fc", net.Conv("conv", net.Image(1, 4, 4), {2, 3, 1, 1}), 2);
  const WeightedNetwork network = *ToWeightedNetwork(RandomModel(*NetworkInfo::Create(net.Take()), at::kFloat, 1));
  WeightedNetwork copy = network;
  EXPECT_THAT(Quantize(copy, {}, {}).status().message(), HasSubstr("no image"));
  copy = network;
  at::Tensor images = Images({1, 4, 4}, 2, 0).to(at::kFloat);
  images[1][0][2][2] = INFINITY;
  EXPECT_THAT(Quantize(copy, {images}, {}).status().message(), AllOf(HasSubstr("\"image\""), HasSubstr("not finite")));
}

}  // namespace
}  // namespace prunelab
