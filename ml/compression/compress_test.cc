// Removal is exact, on every family and on random networks, whatever is masked, and it removes everything that the
// analysis of the masked network says is dead.
#include "ml/compression/compress.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/compression/channel_analysis.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/coupled.h"
#include "ml/compression/fold_batch_norm.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/plan.h"
#include "ml/models/mobilenet_v2.h"
#include "ml/models/resnet_cifar.h"
#include "ml/models/resnet_imagenet.h"
#include "ml/models/vgg.h"

namespace prunelab {
namespace {

at::Tensor Logits(Model& model, int64_t images) {
  const at::NoGradGuard no_gradients;
  const NodeShape& shape = model.info().input_shape();
  const int64_t numbers = images * shape.channels * shape.height * shape.width;
  const at::Tensor x = at::linspace(-1, 1, numbers, at::kDouble).mul(377).sin().mul(1.5);
  ReferencePlan plan;
  return plan
      .Forward(model,
               x.view({images, shape.channels, shape.height, shape.width})
                   .to(model.dtype())
                   .contiguous(at::MemoryFormat::ChannelsLast),
               {})
      .logits;
}

// max|difference| / max|logit|.
double Difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / a.abs().max()).item<double>();
}

double Tolerance(at::ScalarType dtype) { return dtype == at::kDouble ? 1e-10 : 1e-5; }

NetworkInfo Build(const absl::StatusOr<Network>& network) {
  EXPECT_TRUE(network.ok()) << network.status().message();
  return *NetworkInfo::Create(*network);
}

template <typename Parameters>
Parameters Parse(const std::string& text) {
  Parameters parameters;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &parameters)) << text;
  return parameters;
}

// Whether all channels of a node stay: it carries a stream, or comes from a convolution whose groups are tied to one.
bool StaysWhole(const ChannelAnalysis& masked, int i) {
  for (;;) {
    if (masked.carries_stream[i]) return true;
    if (masked.info.inputs(i).size() != 1) return false;
    const int input = masked.info.inputs(i)[0];
    if (masked.relations[i].kind == ChannelRelation::Kind::kMixed) {
      return masked.relations[i].groups > 1 && StaysWhole(masked, input);
    }
    i = input;
  }
}

// Each convolution has exactly its live and needed outputs, and only such inputs or those of a whole stream, as the
// analysis of the masked network says before anything is removed.
void CheckConvolutions(const ChannelAnalysis& masked, const NetworkInfo& small, const std::string& what) {
  const auto kept = [&](int i) { return masked.Kept(i).sum().item<int64_t>(); };
  const NetworkInfo& dense = masked.info;
  for (const ConvInfo& conv : dense.convs()) {
    const int i = dense.Index(conv.node), now = small.Index(conv.node);
    if (kept(i) == 0) {
      EXPECT_EQ(now, -1) << what << ": " << conv.node << " has nothing to do";
      continue;
    }
    ASSERT_GE(now, 0) << what << ": " << conv.node;
    const int input = dense.inputs(i)[0];
    const bool all = dense.node(i).conv2d().groups() > 1 && StaysWhole(masked, input);
    EXPECT_EQ(small.shape(now).channels, all ? dense.shape(i).channels : kept(i))
        << what << ": outputs of " << conv.node;
    const int64_t inputs = small.shape(small.inputs(now)[0]).channels;
    EXPECT_EQ(inputs, StaysWhole(masked, input) ? dense.shape(input).channels : kept(input))
        << what << ": inputs of " << conv.node;
  }
}

// Removal from one model is exact, gives the size that the analysis predicts, and leaves nothing for a second time.
void CheckRemoval(Model& model, const std::string& what) {
  const at::Tensor before = Logits(model, 3);
  const ChannelAnalysis masked(*ToWeightedNetwork(model));
  absl::StatusOr<CompressedModel> compressed = CompressModel(model, {});
  ASSERT_TRUE(compressed.ok()) << compressed.status().message();
  Model& small = compressed->model;
  EXPECT_LE(Difference(before, Logits(small, 3)), Tolerance(model.dtype())) << what;
  const NetworkInfo& info = small.info();
  if (masked.live.back().any().item<bool>()) {
    CheckConvolutions(masked, info, what);
  } else {
    EXPECT_EQ(info.network().node_size(), 4) << what;
  }
  int64_t parameters = model.info().ParameterCount() + model.info().StoredConstantCount();
  for (const PassSaving& saving : compressed->savings) parameters -= saving.parameters;
  EXPECT_EQ(parameters, info.ParameterCount() + info.StoredConstantCount()) << what;
}

// The same function with other streams.
void CheckStreams(Model& model, Streams streams, int64_t multiple, const std::string& what) {
  CompressionOptions options;
  options.layout.all = {multiple, streams};
  absl::StatusOr<CompressedModel> compressed = CompressModel(model, options);
  ASSERT_TRUE(compressed.ok()) << compressed.status().message();
  EXPECT_LE(Difference(Logits(model, 3), Logits(compressed->model, 3)), Tolerance(model.dtype())) << what;
  EXPECT_LE(compressed->model.info().MacCount(), model.info().MacCount()) << what;
}

// Masks of each kind with the seeds from `first` up to `seeds`, in float64, every third of them also in float32.
void CheckFamily(const NetworkInfo& info, const std::string& name, int seeds, int first = 0) {
  for (const MaskKind kind : kMaskKinds) {
    for (int seed = first; seed < seeds; ++seed) {
      for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
        if (dtype == at::kFloat && seed % 3 != 2) continue;
        Model model = RandomModel(info, dtype, 100 + seed, /*zero_scales=*/seed % 4 == 3);
        SetRandomMasks(model, kind, 1000 * static_cast<int>(kind) + seed);
        const std::string what =
            absl::StrCat(name, ", masks ", static_cast<int>(kind), ", seed ", seed, ", ", c10::toString(dtype));
        CheckRemoval(model, what);
        if (seed % 8 == 2) {
          const Streams streams = seed % 16 == 2 ? Streams::kFull : Streams::kConvolved;
          CheckStreams(model, streams, static_cast<int>(kind) % 2 == 0 ? 4 : 1, what);
        }
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

// 29 seeds of 7 kinds: 203 masks per family.
constexpr int kSeeds = 29;

TEST(CompressTest, ResNet20) {
  CheckFamily(Build(CreateResNetCifar(Parse<ResNetCifar>("depth: 20 width: 4 image_size: 8"), {})), "resnet20", kSeeds);
}

TEST(CompressTest, ResNet20ParameterFree) {
  CheckFamily(
      Build(CreateResNetCifar(Parse<ResNetCifar>("depth: 20 width: 4 image_size: 9 shortcut: PARAMETER_FREE"), {})),
      "resnet20a", kSeeds);
}

// The deepest ones in parts that run in parallel.
void CheckResNet56(int first, int seeds) {
  CheckFamily(Build(CreateResNetCifar(Parse<ResNetCifar>("depth: 56 width: 3 image_size: 8"), {})), "resnet56", seeds,
              first);
}

TEST(CompressTest, ResNet56) { CheckResNet56(0, 10); }
TEST(CompressTest, ResNet56Further) { CheckResNet56(10, 20); }
TEST(CompressTest, ResNet56Rest) { CheckResNet56(20, kSeeds); }

TEST(CompressTest, ResNet20Wide) {
  CheckFamily(Build(CreateResNetCifar(Parse<ResNetCifar>("depth: 20 width: 16 image_size: 16"), {})), "resnet20w", 1);
}

TEST(CompressTest, ResNet18) {
  CheckFamily(Build(CreateResNetImageNet(Parse<ResNetImageNet>("depth: 18 width: 4 image_size: 40 classes: 9"), {})),
              "resnet18", kSeeds);
}

TEST(CompressTest, ResNet50) {
  CheckFamily(Build(CreateResNetImageNet(Parse<ResNetImageNet>("depth: 50 width: 3 image_size: 36 classes: 9"), {})),
              "resnet50", kSeeds);
}

TEST(CompressTest, Vgg16) { CheckFamily(Build(CreateVgg(Parse<Vgg>("depth: 16 width: 4"), {})), "vgg16", kSeeds); }

// Inverted residuals: depthwise convolutions between wide and narrow, and ReLU6.
void CheckMobileNetV2(int first, int seeds) {
  CheckFamily(
      Build(CreateMobileNetV2(Parse<MobileNetV2>("stem: CIFAR width_multiplier: 0.2 image_size: 12 classes: 9"), {})),
      "mobilenet_v2", seeds, first);
}

TEST(CompressTest, MobileNetV2) { CheckMobileNetV2(0, 10); }
TEST(CompressTest, MobileNetV2Further) { CheckMobileNetV2(10, 20); }

struct Size {
  int64_t parameters = 0, macs = 0;
};

Size SizeOf(const NetworkInfo& info) { return {info.ParameterCount() + info.StoredConstantCount(), info.MacCount()}; }

// In float64, whatever the network's dtype is, so that only what removal rounded differs.
at::Tensor ExactLogits(const WeightedNetwork& network) {
  WeightedNetwork exact = network;
  for (auto& [name, tensor] : exact.tensors) {
    if (tensor.is_floating_point()) tensor = tensor.to(at::kDouble);
  }
  Model model = ToModel(exact, at::kCPU);
  const NodeShape& shape = model.info().input_shape();
  const at::Tensor x = at::linspace(-1, 1, 2 * shape.channels * shape.height * shape.width, at::kDouble);
  ReferencePlan plan;
  const at::NoGradGuard no_gradients;
  const ForwardResult result =
      plan.Forward(model, x.mul(377).sin().mul(1.5).view({2, shape.channels, shape.height, shape.width}), {});
  std::vector<at::Tensor> results;
  for (const at::Tensor& each : result.results) results.push_back(each.flatten(1));
  return at::cat(results, 1);
}

// Dead channels leave no constants: no biases, shifts, means or stored values.
void RemoveConstants(WeightedNetwork& network) {
  for (Node& node : *network.network.mutable_node()) {
    if (node.has_pad()) node.mutable_pad()->clear_value();
    const Elementwise::Function function = node.elementwise().function();
    if (function == Elementwise::SIGMOID || function == Elementwise::HARD_SIGMOID) {  // not zero at zero
      node.mutable_elementwise()->set_function(Elementwise::TANH);
    }
  }
  for (auto& [name, tensor] : network.tensors) {
    if (absl::EndsWith(name, ".bias") || absl::EndsWith(name, ".running_mean") || absl::EndsWith(name, ".value")) {
      tensor = at::zeros_like(tensor);
    }
  }
}

// Whether a channel of zeros that is removed changes nothing else: no norm counts it, and no channel that is repeated
// for all is divided by it, or it subtracted.
bool DeadChannelsBringNothing(const NetworkInfo& info) {
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (info.op(i).Channels(info.View(i)).kind == ChannelRelation::Kind::kJoined ||
        (info.node(i).op_case() == Node::kArithmetic && info.node(i).arithmetic().function() != Arithmetic::MULTIPLY)) {
      return false;
    }
  }
  return true;
}

// Compares random networks with themselves with masks, under all options; `sizes` counts those that became smaller.
void CheckRandomNetworks(uint64_t first, uint64_t count, int64_t& smaller) {
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const Network text = RandomNetwork(seed);
    const absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(text);
    ASSERT_TRUE(info.ok()) << info.status() << text.DebugString();
    const at::ScalarType dtype = seed % 4 == 3 ? at::kFloat : at::kDouble;
    Model model = RandomModel(*info, dtype, seed, /*zero_scales=*/seed % 3 == 0);
    if (seed % 2 == 0) SetRandomZeros(model, seed);
    SetRandomMasks(model, kMaskKinds[seed % std::size(kMaskKinds)], seed);
    const WeightedNetwork masked = *ToWeightedNetwork(model);
    const Size dense = SizeOf(*info);
    const auto check = [&](const WeightedNetwork& of, const std::string& how, const auto& remove) {
      const at::Tensor before = ExactLogits(of);
      WeightedNetwork small = of;
      remove(small);
      const std::string what = absl::StrCat("seed ", seed, ", ", c10::toString(dtype), ", ", how);
      const at::Tensor after = ExactLogits(small);
      const double largest = before.abs().max().item<double>();
      const double difference = (before - after).abs().max().item<double>();
      EXPECT_LE(difference, (dtype == at::kDouble ? 1e-9 : 1e-4) * (1e-3 + largest)) << what;
      const Size size = SizeOf(small.Info());
      EXPECT_LE(size.parameters, dense.parameters) << what;
      EXPECT_LE(size.macs, dense.macs) << what;
      smaller += size.parameters < dense.parameters;
      if (!testing::Test::HasFailure()) return;
      std::cout << what << "\nbefore:\n" << of.network.DebugString() << "after:\n" << small.network.DebugString();
    };
    CompressionOptions options;
    options.fold_batch_norm = seed / 2 % 2 == 0;
    options.layout.all = {std::vector<int64_t>{1, 1, 2, 4, 8}[seed % 5], static_cast<Streams>(seed % 7 % 3)};
    // In maps of the image's size another layout than in the others.
    const NodeShape& image = info->input_shape();
    if (seed % 11 < 4)
      options.layout.by_pixels[image.height * image.width] = {seed % 11 == 0 ? 1 : 4,
                                                              static_cast<Streams>(seed / 3 % 3)};
    const std::string how = absl::StrCat(options.fold_batch_norm ? "folded, " : "", options.layout.Text());
    check(masked, how, [&](WeightedNetwork& network) {
      Compress(network, options);
      const Size once = SizeOf(network.Info());
      if (seed % 4 == 0) {
        EXPECT_TRUE(Compress(network, options).empty()) << "seed " << seed << ": a second time";
        EXPECT_EQ(SizeOf(network.Info()).parameters, once.parameters) << seed;
      }
      if (options.fold_batch_norm || !options.layout.IsPlain()) return;
      const RemovedSize predicted = SizeAfterRemoval(model);
      EXPECT_EQ(predicted.parameters, once.parameters) << seed;
      EXPECT_EQ(predicted.macs, once.macs) << seed;
    });
    if (seed % 3 == 0 && DeadChannelsBringNothing(*info)) {
      WeightedNetwork without = masked;
      RemoveConstants(without);
      check(without, absl::StrCat("coupled, ", how), [&](WeightedNetwork& network) {
        ASSERT_TRUE(RemoveCoupled(network, {}).ok());
        if (options.fold_batch_norm) FoldBatchNorm(network);
      });
    }
    if (testing::Test::HasFailure()) return;
  }
}

// Parts that run in parallel.
constexpr uint64_t kNetworks = 600;

void CheckRandomNetworks(uint64_t part) {
  int64_t smaller = 0;
  CheckRandomNetworks(part * kNetworks, kNetworks, smaller);
  EXPECT_GT(smaller, static_cast<int64_t>(kNetworks / 2));
}

TEST(RandomNetworksTest, First) { CheckRandomNetworks(0); }
TEST(RandomNetworksTest, Second) { CheckRandomNetworks(1); }
TEST(RandomNetworksTest, Third) { CheckRandomNetworks(2); }
TEST(RandomNetworksTest, Fourth) { CheckRandomNetworks(3); }

TEST(CompressTest, Vgg16WithBiases) {
  CheckFamily(Build(CreateVgg(Parse<Vgg>("depth: 16 width: 3 conv_bias: true last_max_pool: true"), {})), "vgg16b", 8);
}

}  // namespace
}  // namespace prunelab
