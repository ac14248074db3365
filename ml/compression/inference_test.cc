#include "ml/compression/inference.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/compression/compress.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/checkpoint.h"
#include "ml/models/mobilenet_v2.h"
#include "ml/models/resnet_cifar.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

at::Tensor Images(int64_t count, const NodeShape& shape) {
  return at::linspace(-1, 1, count * shape.channels * shape.height * shape.width)
      .mul(377)
      .sin()
      .view({count, shape.channels, shape.height, shape.width});
}

Model Masked(const absl::StatusOr<Network>& network, MaskKind kind) {
  Model model = RandomModel(*NetworkInfo::Create(*network), at::kFloat, 7);
  SetRandomMasks(model, kind, 11);
  return model;
}

// Batches of different sizes in turn: the values of the reference plan, and the same bits whenever a batch comes again.
void Check(Model model, const ChannelLayout& layout) {
  WeightedNetwork network = *ToWeightedNetwork(model);
  CompressionOptions options;
  options.layout = layout;
  Compress(network, options);
  Inference inference(network);
  ReferencePlan reference;
  std::map<int64_t, at::Tensor> first;
  for (const int64_t count : {1, 5, 1, 2, 5, 1}) {
    const at::Tensor images = Images(count, model.info().input_shape());
    absl::StatusOr<at::Tensor> logits = inference.Run(images);
    ASSERT_TRUE(logits.ok()) << logits.status();
    const at::Tensor expected = reference.Forward(model, images, {}).logits.detach();
    EXPECT_LE((*logits - expected).abs().max().item<double>(), 2e-5 * expected.abs().max().item<double>()) << count;
    const auto [place, is_new] = first.emplace(count, logits->clone());
    if (!is_new) EXPECT_TRUE(at::equal(*logits, place->second)) << count;
    logits->fill_(0);  // it is the caller's
  }
}

TEST(InferenceTest, NetworksWithMasksOfAllKinds) {
  ResNetCifar resnet;
  resnet.set_depth(14);
  resnet.set_image_size(16);
  MobileNetV2 mobilenet;
  mobilenet.set_stem(MobileNetV2::CIFAR);
  mobilenet.set_width_multiplier(0.2);
  mobilenet.set_image_size(12);
  for (const MaskKind kind : kMaskKinds) {
    for (const Streams streams : {Streams::kScattered, Streams::kFull, Streams::kConvolved}) {
      SCOPED_TRACE(absl::StrCat("masks ", static_cast<int>(kind), ", streams ", static_cast<int>(streams)));
      Check(Masked(CreateResNetCifar(resnet, {}), kind), {{1, streams}, {}});
      Check(Masked(CreateResNetCifar(resnet, {}), kind), {{8, streams}, {}});
      Check(Masked(CreateMobileNetV2(mobilenet, {}), kind), {{1, streams}, {}});
    }
  }
}

TEST(InferenceTest, FromACheckpoint) {
  ResNetCifar resnet;
  resnet.set_depth(8);
  Model model = Masked(CreateResNetCifar(resnet, {}), MaskKind::kUniform);
  const std::string path = absl::StrCat(testing::TempDir(), "/masked.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, ModelToSafetensors(model)).ok());
  absl::StatusOr<Inference> inference = Inference::Open(path);
  ASSERT_TRUE(inference.ok()) << inference.status();
  const at::Tensor images = Images(3, model.info().input_shape());
  const at::Tensor expected = ReferencePlan().Forward(model, images, {}).logits.detach();
  EXPECT_LE((*inference->Run(images) - expected).abs().max().item<double>(),
            2e-5 * expected.abs().max().item<double>());
  EXPECT_EQ(inference->info().input_shape().channels, 3);
  EXPECT_FALSE(Inference::Open(path + "x").ok());
}

TEST(InferenceTest, RefusesImagesOfAnotherShape) {
  ResNetCifar resnet;
  resnet.set_depth(8);
  Inference inference(*ToWeightedNetwork(Masked(CreateResNetCifar(resnet, {}), MaskKind::kUniform)));
  for (const at::Tensor& images :
       {at::zeros({1, 1, 32, 32}), at::zeros({1, 3, 32, 31}), at::zeros({3, 32, 32}), at::zeros({0, 3, 32, 32})}) {
    const absl::Status status = inference.Run(images).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("the network takes [N, 3, 32, 32]"));
  }
}

}  // namespace
}  // namespace prunelab
