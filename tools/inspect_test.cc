// Runs //tools:inspect as a user would.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"
#include "ml/network/network.h"
#include "ml/network/network_writer.h"
#include "ml/safetensors/safetensors.h"
#include "tools/inspection.h"
#include "tools/run_program.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kInspect[] = "tools/inspect";

std::string Temporary(const std::string& name) { return testing::TempDir() + "/" + name; }

// conv 2 -> 4 (3x3, padding 1), BN, ReLU, conv 4 -> 3 (3x3), pool, linear 3 -> 2, on 6x6 pixels.
Model Small() {
  NetworkWriter net;
  std::string x = net.Image(2, 6, 6);
  x = net.Relu("relu", net.BatchNorm("bn", net.Conv("first", x, {4, 3, 1, 1})));
  net.Classifier("fc", net.Conv("second", x, {3, 3, 1, 0}), 2);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kFloat, at::kCPU);
  InitializeParameters(model, 1);
  return model;
}

// Runs of spaces as one, so that a row can be compared whatever the columns' widths are.
std::string Squeezed(const std::string& text) {
  std::string squeezed;
  for (const char c : text) {
    if (c != ' ' || squeezed.empty() || squeezed.back() != ' ') squeezed += c;
  }
  return squeezed;
}

// All numbers worked out by hand: first 4*2*9 = 72 weights, 72*36 MACs; second 3*4*9 = 108, 108*16.
TEST(InspectTest, ATableOfADenseNetwork) {
  EXPECT_THAT(
      Squeezed(InspectNetwork(Small().info())),
      AllOf(HasSubstr("\nfirst conv 4x6x6 4x2x3x3 72 2592 4 of 4 0.00 %\n"), HasSubstr("\nbn batch norm 4x6x6 4 8\n"),
            HasSubstr("\nsecond conv 3x4x4 3x4x3x3 108 1728 3 of 3 0.00 %\n"), HasSubstr("\nfc linear 2 2x3 8 6\n"),
            HasSubstr("\nall 196 4326 7 of 7 0.00 %\n"),
            HasSubstr("parameters 196; after exact removal 196, compression ratio 1.00"),
            HasSubstr("MACs of one image 4326; after exact removal 4326, theoretical speed-up 1.00")));
}

TEST(InspectTest, MasksOfACheckpoint) {
  Model model = Small();
  model.SetMasks({{"first", at::tensor({1.f, 0.f, 0.f, 1.f}).view({4, 1, 1, 1})}});
  at::Tensor weights = at::ones({3, 4, 3, 3});
  weights[1][2][0][0] = 0;
  model.SetMasks({{"second", weights}});
  const std::string path = Temporary("masked.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, ModelToSafetensors(model)).ok());
  const ProgramResult result = RunProgram(kInspect, {"--checkpoint=" + path});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, InspectModel(model));
  EXPECT_THAT(
      Squeezed(result.out),
      AllOf(HasSubstr("\nfirst conv 4x6x6 4x2x3x3 72 2592 2 of 4 50.00 %\n"),
            HasSubstr("\nsecond conv 3x4x4 3x4x3x3 108 1728 3 of 3 0.93 %\n"),
            HasSubstr("\nall 196 4326 5 of 7 20.56 %\n"), HasSubstr("filters masked 2 of 7 (28.57 %)"),
            HasSubstr("conv weights masked 37 of 180 (20.56 %)"),
            HasSubstr("the paper's sparsity 37 of all 196 parameters (18.88 %)"),
            // beta is 0, so dead channels are 0 after the ReLU, and nothing is stored. first 2*2*9, bn 4, second 3*2*9,
            // fc 8; 36*36 + 54*16 + 6.
            HasSubstr("after exact removal 102, compression ratio 1.92"),
            HasSubstr("after exact removal 2166, theoretical speed-up 2.00"), Not(HasSubstr("no live filter"))));
  model.SetMasks({{"second", at::zeros({3, 1, 1, 1})}});
  EXPECT_THAT(InspectModel(model), HasSubstr("no live filter in    second"));
}

TEST(InspectTest, ANetworkByItself) {
  const ProgramResult result =
      RunProgram(kInspect, {"--network=[type.googleapis.com/prunelab.ResNetImageNet] { depth: 50 }"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(Squeezed(result.out), AllOf(HasSubstr("\nconv1 conv 64x112x112 64x3x7x7 9408 118013952 64 of 64"),
                                          HasSubstr("\nall 25557032 4089184256 26560 of 26560")));
}

TEST(InspectTest, AStateDictOfPyTorchWithItsNetwork) {
  Safetensors file = ModelToSafetensors(Small());
  file.metadata.clear();
  const std::string path = Temporary("state.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
  ProgramResult result = RunProgram(kInspect, {"--checkpoint=" + path});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr(path), HasSubstr("carries no network"), HasSubstr("--network='")));
  result = RunProgram(
      kInspect, {"--checkpoint=" + path, "--network=[type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 4 }"});
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, AllOf(HasSubstr(path + ": does not fit the network"),
                                HasSubstr("missing conv1.weight [4, 3, 3, 3]"), HasSubstr("unexpected second.weight"),
                                HasSubstr("fc.weight is [2, 3]; the network needs [10, 16]")));
  Safetensors parallel;
  parallel.tensors["module.fc.bias"] = at::zeros({2});
  ASSERT_TRUE(WriteSafetensors(path, parallel).ok());
  result = RunProgram(kInspect, {"--checkpoint=" + path, "--network=[type.googleapis.com/prunelab.Vgg] {}"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("model.module.state_dict()"));
}

TEST(InspectTest, ArmsOfAConfigShareATable) {
  ProgramResult result = RunProgram(kInspect, {"--config=experiments/configs/digits.textproto"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(Squeezed(result.out),
              AllOf(HasSubstr("arms: none/none, none/cov, dynamic_l1/none"),
                    HasSubstr("\nconv1 conv 16x8x8 16x1x3x3 144 9216 16 of 16"), HasSubstr("\nall 77754 763520 ")));
  result = RunProgram(kInspect, {"--config=experiments/configs/digits.textproto", "--arms=static/*"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("arms: static/none, static/cov\n"));
  result = RunProgram(kInspect, {"--config=experiments/configs/digits.textproto", "--arms=nobody"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("nobody"));
}

TEST(InspectTest, BadInput) {
  const std::string broken = Temporary("broken.safetensors");
  std::ofstream(broken) << "<html>";
  const struct {
    std::vector<std::string> arguments;
    const char* message;
  } cases[] = {
      {{}, "give either --config"},
      {{"--config=x", "--checkpoint=y"}, "give either --config"},
      {{"--checkpoint=" + broken}, "not a valid safetensors file: it is a web page"},
      {{"--checkpoint=/no/such.safetensors"}, "/no/such.safetensors"},
      {{"--checkpoint=" + testing::TempDir()}, "is no file"},
      {{"--config=/no/such.textproto"}, "/no/such.textproto"},
      {{"--network=ResNet"}, "--network:1:"},
      {{"--network=[type.googleapis.com/prunelab.Transformer] {}"}, "not linked"},
      {{"--network=[type.googleapis.com/prunelab.Digits] {}"}, "not a network family"},
      {{"--network=[type.googleapis.com/prunelab.ResNetImageNet] { depth: 56 }"},
       "--network: depth: is 56; must be 18"},
      {{"--checkpoint=no_such.safetensors"}, "--checkpoint: no_such.safetensors: no such file in /"},
      {{"--network=[type.googleapis.com/prunelab.Vgg] {}", "--strip_prefix=module."},
       "--strip_prefix goes with --checkpoint"},
      {{"--config=experiments/configs/digits.textproto", "--ignore=x"}, "--ignore goes with --checkpoint"},
      {{"--network=[type.googleapis.com/prunelab.Vgg] {}", "--arms=x"}, "--arms goes with --config"},
      {{"last.safetensors"}, "is not a flag"},
      {{"--chekpoint=x"}, "--chekpoint is not a flag; did you mean --checkpoint?"},
  };
  for (const auto& bad : cases) {
    const ProgramResult result = RunProgram(kInspect, bad.arguments);
    EXPECT_EQ(result.status, 2) << bad.message;
    EXPECT_EQ(result.out, "") << bad.message;
    EXPECT_THAT(result.err, HasSubstr(bad.message));
  }
}

}  // namespace
}  // namespace prunelab
