// Removal is exact and the export well formed for small networks of the families that compress_test leaves out. They
// contain gates, norms over channels, concatenations, choices of channels and whole blocks that dropout may leave out.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <onnx/checker.h>
#include <onnx/onnx_pb.h>
#include <onnx/shape_inference/implementation.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/onnx_export.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/plan.h"
#include "ml/models/convnext.h"
#include "ml/models/densenet.h"
#include "ml/models/efficientnet.h"
#include "ml/models/lenet.h"
#include "ml/models/mnasnet.h"
#include "ml/models/mobilenet_v3.h"
#include "ml/models/regnet.h"
#include "ml/models/shufflenet_v2.h"

namespace prunelab {
namespace {

at::Tensor Logits(Model& model) {
  const at::NoGradGuard no_gradients;
  const NodeShape& shape = model.info().input_shape();
  const at::Tensor x = at::linspace(-1, 1, 3 * shape.channels * shape.height * shape.width, at::kDouble).mul(377).sin();
  ReferencePlan plan;
  return plan.Forward(model, x.view({3, shape.channels, shape.height, shape.width}), {}).logits;
}

bool IsDead(const at::Tensor& mask) { return !mask.any().item<bool>(); }

void CheckOnnx(const Model& model, const std::string& what) {
  onnx::ModelProto onnx;
  ASSERT_TRUE(onnx.ParseFromString(ToOnnx(*ToWeightedNetwork(model)))) << what;
  EXPECT_NO_THROW(onnx::checker::check_model(onnx)) << what;
  EXPECT_NO_THROW(onnx::shape_inference::InferShapes(onnx)) << what;
}

template <typename Parameters>
void Check(absl::StatusOr<Network> (*create)(const Parameters&, const ImageDefaults&), const std::string& text) {
  Parameters parameters;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &parameters)) << text;
  const absl::StatusOr<Network> network = create(parameters, {});
  ASSERT_TRUE(network.ok()) << network.status();
  const NetworkInfo info = *NetworkInfo::Create(*network);
  CheckOnnx(RandomModel(info, at::kFloat, 5), "whole");
  // 102 masks.
  std::map<MaskKind, int> dead;  // how many convolutions have no live filter
  for (const MaskKind kind : kAllMaskKinds) {
    for (int seed = 0; seed < (kind == MaskKind::kNone ? 3 : 11); ++seed) {
      const std::string what = absl::StrCat("masks ", static_cast<int>(kind), ", seed ", seed);
      Model model = RandomModel(info, at::kDouble, 100 + seed, /*zero_scales=*/seed % 4 == 2);
      SetRandomMasks(model, kind, 1000 * static_cast<int>(kind) + seed);
      for (const auto& [conv, mask] : model.masks()) dead[kind] += IsDead(mask);
      const at::Tensor before = Logits(model);
      absl::StatusOr<CompressedModel> compressed = CompressModel(model, {});
      ASSERT_TRUE(compressed.ok()) << what << ": " << compressed.status();
      const at::Tensor after = Logits(compressed->model);
      EXPECT_LE((before - after).abs().max().item<double>(), 1e-9 * before.abs().max().item<double>()) << what;
      if (kind == MaskKind::kUniform) {
        EXPECT_LT(compressed->model.info().MacCount(), info.MacCount()) << what;
        absl::StatusOr<CompressedModel> again = CompressModel(compressed->model, {});
        ASSERT_TRUE(again.ok()) << what << ": " << again.status();
        EXPECT_EQ(again->model.info().ParameterCount(), compressed->model.info().ParameterCount()) << what;
      }
      if (seed < 3) CheckOnnx(compressed->model, what);
      if (testing::Test::HasFailure()) return;
    }
  }
  // The masks did hit what they are for.
  for (const Node& node : network->node()) {
    if (node.arithmetic().function() == Arithmetic::MULTIPLY) EXPECT_GT(dead[MaskKind::kDeadGates], 0) << node.name();
    if (node.has_concat()) EXPECT_GT(dead[MaskKind::kDeadBranches], 0) << node.name();
  }
}

TEST(FamiliesTest, ConvNeXt) {
  Check(CreateConvNeXt, "stem: CIFAR width_multiplier: 0.05 depth_multiplier: 0.3 image_size: 8 classes: 5");
}

TEST(FamiliesTest, DenseNet) { Check(CreateDenseNet, "stem: CIFAR depth: 22 growth: 3 image_size: 8 classes: 5"); }

TEST(FamiliesTest, PlainDenseNet) {
  Check(CreateDenseNet, "stem: CIFAR depth: 13 growth: 3 bottleneck: false dropout: 0.2 image_size: 8 classes: 5");
}

TEST(FamiliesTest, EfficientNet) {
  Check(CreateEfficientNet, "stem: CIFAR width_multiplier: 0.1 depth_multiplier: 0.5 image_size: 8 classes: 5");
}

TEST(FamiliesTest, EfficientNetV2) {
  Check(CreateEfficientNet,
        "variant: V2_S stem: CIFAR width_multiplier: 0.1 depth_multiplier: 0.2 image_size: 8 classes: 5");
}

TEST(FamiliesTest, LeNet) {
  Check(CreateLeNet, "image_size: 6 classes: 5");
  Check(CreateLeNet, "kind: LENET_5 padding: 2 image_size: 8 classes: 5");
}

TEST(FamiliesTest, MnasNet) { Check(CreateMnasNet, "stem: CIFAR width_multiplier: 0.1 image_size: 8 classes: 5"); }

TEST(FamiliesTest, MobileNetV3) {
  Check(CreateMobileNetV3, "variant: SMALL stem: CIFAR width_multiplier: 0.1 image_size: 8 classes: 5");
}

TEST(FamiliesTest, RegNetY) {
  Check(CreateRegNet,
        "stem: CIFAR depth: 5 initial_width: 8 slope: 4 width_step: 2 group_width: 4 se_ratio: 0.25 stem_width: 4 "
        "image_size: 8 classes: 5");
}

TEST(FamiliesTest, ShuffleNetV2) { Check(CreateShuffleNetV2, "variant: X0_5 stem: CIFAR image_size: 8 classes: 5"); }

}  // namespace
}  // namespace prunelab
