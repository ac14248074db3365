#include "ml/execution/checkpoint.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"
#include "ml/execution/plan.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Model MakeModel(uint64_t seed, at::ScalarType dtype = at::kFloat) {
  Network network;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(R"pb(
                                                              node {
                                                                name: "image"
                                                                image { channels: 2 height: 5 width: 5 }
                                                              }
                                                              node {
                                                                name: "conv"
                                                                input: "image"
                                                                conv2d { out_channels: 3 }
                                                              }
                                                              node {
                                                                name: "bn"
                                                                input: "conv"
                                                                batch_norm2d {}
                                                              }
                                                              node {
                                                                name: "conv2"
                                                                input: "bn"
                                                                conv2d { out_channels: 4 }
                                                              }
                                                              node {
                                                                name: "flat"
                                                                input: "conv2"
                                                                flatten {}
                                                              }
                                                              node {
                                                                name: "fc"
                                                                input: "flat"
                                                                linear { out_features: 3 }
                                                              }
                                                            )pb",
                                                            &network));
  Model model = Model::Create(*NetworkInfo::Create(network), dtype, at::kCPU);
  InitializeParameters(model, seed);
  return model;
}

std::string Temporary(const std::string& name) { return testing::TempDir() + "/" + name; }

TEST(CheckpointTest, ALoadedModelComputesTheSame) {
  Model model = MakeModel(1);
  model.SetMasks({{"conv", at::tensor({1.f, 0.f, 1.f}).view({3, 1, 1, 1})},
                  {"conv2", (at::arange(4 * 3 * 9).view({4, 3, 3, 3}) % 3 != 0).to(at::kFloat)}});
  const at::Tensor images = at::linspace(-1, 1, 100).view({2, 2, 5, 5});
  ReferencePlan plan;
  ForwardOptions train;
  train.mode = Mode::kTrain;
  plan.Forward(model, images, train);
  const std::string path = Temporary("model.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, ModelToSafetensors(model)).ok());
  absl::StatusOr<Model> loaded = LoadModel(path, at::kFloat, at::kCPU);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(at::equal(plan.Forward(model, images, {}).logits, plan.Forward(*loaded, images, {}).logits));
  EXPECT_EQ(loaded->masks().at("conv").sizes(), at::IntArrayRef({3, 1, 1, 1}));  // a filter mask again
  EXPECT_EQ(loaded->masks().at("conv2").sizes(), at::IntArrayRef({4, 3, 3, 3}));
  EXPECT_EQ(loaded->Get("bn.num_batches_tracked").item<int64_t>(), 1);
}

TEST(CheckpointTest, TheFileHoldsMasksInTheWeightsShape) {
  Model model = MakeModel(1, at::kDouble);
  model.SetMasks({{"conv", at::tensor({1., 0., 1.}, at::kDouble).view({3, 1, 1, 1})}});
  const Safetensors file = ModelToSafetensors(model);
  EXPECT_EQ(file.tensors.at("conv.mask").sizes(), at::IntArrayRef({3, 2, 3, 3}));
  EXPECT_EQ(file.tensors.at("conv.mask").scalar_type(), at::kFloat);
  EXPECT_EQ(file.tensors.at("conv.mask").sum().item<double>(), 2 * 18);
  EXPECT_EQ(file.tensors.count("conv2.mask"), 0u);
}

TEST(CheckpointTest, AllDifferencesAreListedAndNothingIsLoaded) {
  Model model = MakeModel(1);
  const at::Tensor before = model.Get("conv.weight").detach().clone();
  Safetensors file = ModelToSafetensors(MakeModel(2));
  file.tensors.erase("bn.bias");
  file.tensors.erase("bn.num_batches_tracked");  // may be missing
  file.tensors["fc.weight"] = at::zeros({3, 5});
  file.tensors["head.weight"] = at::zeros({1});
  file.tensors["conv.mask"] = at::zeros({3, 1, 3, 3});
  file.tensors["conv2.mask"] = at::full({4, 1, 1, 1}, 0.5);
  const absl::Status status = LoadIntoModel(file, "w.safetensors", model);
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr("w.safetensors: does not fit the network, in 5 places"));
  EXPECT_THAT(message, HasSubstr("missing bn.bias [3]"));
  EXPECT_THAT(message, HasSubstr("fc.weight is [3, 5]; the network needs [3, 4]"));
  EXPECT_THAT(message, HasSubstr("unexpected head.weight [1]"));
  EXPECT_THAT(message, HasSubstr("conv.mask is [3, 1, 3, 3]; must be [3, 2, 3, 3] or [3, 1, 1, 1]"));
  EXPECT_THAT(message, HasSubstr("conv2.mask holds values other than 0 and 1"));
  EXPECT_TRUE(at::equal(model.Get("conv.weight"), before));
  EXPECT_TRUE(model.masks().empty());
}

// A small file may speak of a network of a hundred terabytes; no room is made for it.
TEST(CheckpointTest, ANetworkFarLargerThanTheFileIsRefusedBeforeItIsBuilt) {
  Safetensors file = ModelToSafetensors(MakeModel(1));
  file.metadata["network"] =
      "node { name: 'image' image { channels: 200000 } } "
      "node { name: 'conv' input: 'image' conv2d { out_channels: 200000 kernel_height: 32 kernel_width: 32 } } "
      "node { name: 'pool' input: 'conv' global_average_pool {} } node { name: 'flat' input: 'pool' flatten {} } "
      "node { name: 'fc' input: 'flat' linear { out_features: 1000000 } }";
  const std::string path = Temporary("large.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
  EXPECT_THAT(std::string(LoadModel(path, at::kFloat, at::kCPU).status().message()),
              AllOf(HasSubstr("large.safetensors: does not fit the network"),
                    HasSubstr("the network needs [200000, 200000, 32, 32]")));
}

TEST(CheckpointTest, AFileWithoutOrWithABadNetworkIsRefused) {
  Safetensors file = ModelToSafetensors(MakeModel(1));
  const std::string path = Temporary("bad.safetensors");
  file.metadata["network"] = "node { name: 'x' input: 'x' relu {} }";
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
  EXPECT_THAT(std::string(LoadModel(path, at::kFloat, at::kCPU).status().message()),
              HasSubstr("bad.safetensors: network: node \"x\""));
  file.metadata.clear();
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
  EXPECT_THAT(std::string(LoadModel(path, at::kFloat, at::kCPU).status().message()), HasSubstr("carries no network"));
}

}  // namespace
}  // namespace prunelab
