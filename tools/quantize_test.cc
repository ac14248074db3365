// Runs //tools:quantize as a user would.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"
#include "ml/models/convnext.h"
#include "ml/models/resnet_cifar.h"
#include "tools/run_program.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kQuantize[] = "tools/quantize";
constexpr char kDigits[] = "--dataset=[type.googleapis.com/prunelab.Digits] {}";

std::string Temporary(const std::string& name) { return testing::TempDir() + "/" + name; }

ImageDefaults DigitsDefaults() {
  ImageDefaults digits;
  digits.classes = 10;
  digits.channels = 1;
  digits.height = digits.width = 8;
  return digits;
}

// A random ResNet-8 for the digits with a half of the filters dead.
std::string Dense() {
  ResNetCifar parameters;
  parameters.set_depth(8);
  Model model = RandomModel(*NetworkInfo::Create(*CreateResNetCifar(parameters, DigitsDefaults())), at::kFloat, 3);
  SetRandomMasks(model, MaskKind::kUniform, 5);
  const std::string path = Temporary("dense.safetensors");
  EXPECT_TRUE(WriteSafetensors(path, ModelToSafetensors(model)).ok());
  return path;
}

double Bytes(const std::string& path) { return static_cast<double>(ReadFile(path)->size()); }

TEST(QuantizeToolTest, ASmallerCheckpointThatTheOtherToolsRead) {
  const std::string dense = Dense(), small = Temporary("int8.safetensors"), onnx = Temporary("int8.onnx");
  const ProgramResult result =
      RunProgram(kQuantize, {"--checkpoint=" + dense, "--output=" + small, "--onnx=" + onnx, kDigits});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("10 layers with weights on grids"), HasSubstr("top-1 of 359 test images"),
                                HasSubstr("wrote " + small), HasSubstr("wrote " + onnx)));
  EXPECT_LT(std::stod(After(result.out, "largest difference of a logit / largest logit: ")), 0.05);
  EXPECT_LT(Bytes(small), 0.35 * Bytes(dense));
  EXPECT_LT(Bytes(onnx), 0.35 * Bytes(dense));

  // The checkpoint is the network whose accuracy was printed.
  const ProgramResult evaluated = RunProgram("tools/evaluate", {"--checkpoint=" + small, kDigits});
  ASSERT_EQ(evaluated.status, 0) << evaluated.err;
  // before, quantized, in integers
  std::istringstream row(After(result.out, "top-1 of 359 test images"));
  double before = 0, quantized = 0;
  std::string percent;
  row >> before >> percent >> quantized;
  EXPECT_NEAR(quantized, std::stod(After(evaluated.out, "top-1  ")), 0.006);

  const ProgramResult inspected = RunProgram("tools/inspect", {"--checkpoint=" + small});
  ASSERT_EQ(inspected.status, 0) << inspected.err;
  EXPECT_THAT(inspected.out, HasSubstr("quantize"));

  const std::string again = Temporary("again.safetensors");
  const ProgramResult compressed = RunProgram("tools/compress", {"--checkpoint=" + small, "--output=" + again});
  EXPECT_EQ(compressed.status, 2);
  EXPECT_THAT(compressed.err, AllOf(HasSubstr("is quantized"), HasSubstr("compress first, then quantize")));
  const ProgramResult twice = RunProgram(kQuantize, {"--checkpoint=" + small, "--output=" + again, kDigits});
  EXPECT_EQ(twice.status, 2);
  EXPECT_THAT(twice.err, AllOf(HasSubstr(small), HasSubstr("quantized already, so --output has no effect")));
  EXPECT_FALSE(PathExists(again));

  // As it is, it is exported once more.
  const std::string onnx_again = Temporary("again.onnx");
  const ProgramResult exported = RunProgram(kQuantize, {"--checkpoint=" + small, "--onnx=" + onnx_again, kDigits});
  ASSERT_EQ(exported.status, 0) << exported.err;
  EXPECT_EQ(*ReadFile(onnx_again), *ReadFile(onnx));
}

TEST(QuantizeToolTest, FewerBitsAreCoarser) {
  const std::string dense = Dense();
  double last = 1e9;
  for (const char* bits : {"2", "4", "8"}) {
    const ProgramResult result =
        RunProgram(kQuantize, {"--checkpoint=" + dense, "--output=" + Temporary("bits.safetensors"), kDigits,
                               absl::StrCat("--weight_bits=", bits), absl::StrCat("--activation_bits=", bits)});
    ASSERT_EQ(result.status, 0) << result.err;
    const double changed = std::stod(After(result.out, "predictions that quantization changed: "));
    EXPECT_LT(changed, last) << bits;
    last = changed;
  }
}

TEST(QuantizeToolTest, WhatIntegersCannotExpressIsSaid) {
  ConvNeXt parameters;
  parameters.set_stem(ConvNeXt::CIFAR);
  parameters.set_width_multiplier(0.05);
  parameters.set_depth_multiplier(0.3);
  const Model model = RandomModel(*NetworkInfo::Create(*CreateConvNeXt(parameters, DigitsDefaults())), at::kFloat, 3);
  const std::string path = Temporary("convnext.safetensors"), output = Temporary("convnext_int8.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, ModelToSafetensors(model)).ok());
  const ProgramResult result = RunProgram(kQuantize, {"--checkpoint=" + path, "--output=" + output, kDigits});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("in floating point, between grids: "), HasSubstr("(layer norm)"),
                                Not(HasSubstr("integers and floating point: "))));
  EXPECT_EQ(RunProgram("tools/evaluate", {"--checkpoint=" + output, kDigits}).status, 0);
}

TEST(QuantizeToolTest, BadFlagsAreRefused) {
  const std::string dense = Dense(), output = Temporary("never.safetensors");
  const auto refusal = [&](std::vector<std::string> flags) {
    flags.push_back("--checkpoint=" + dense);
    const ProgramResult result = RunProgram(kQuantize, flags);
    EXPECT_EQ(result.status, 2) << result.out;
    EXPECT_FALSE(PathExists(output));
    return result.err;
  };
  const std::string to = "--output=" + output;
  EXPECT_THAT(refusal({to}), HasSubstr("--dataset is missing"));
  EXPECT_THAT(refusal({kDigits}), HasSubstr("give --output=F.safetensors or --onnx=F.onnx"));
  EXPECT_THAT(refusal({to, kDigits, "--weight_bits=9"}), HasSubstr("--weight_bits=9: must be from 2 to 8"));
  EXPECT_THAT(refusal({to, kDigits, "--activation_bits=1"}), HasSubstr("--activation_bits=1: must be from 2 to 8"));
  EXPECT_THAT(refusal({to, kDigits, "--weight_scales=tensor"}), HasSubstr("must be channel or layer"));
  EXPECT_THAT(refusal({to, kDigits, "--ranges=best"}), HasSubstr("--ranges=best: must be min_max, percentile or"));
  EXPECT_THAT(refusal({to, kDigits, "--percentile=99"}), HasSubstr("goes with --ranges=percentile"));
  EXPECT_THAT(refusal({to, kDigits, "--ranges=percentile", "--percentile=40"}), HasSubstr("above 50 and at most 100"));
  EXPECT_THAT(refusal({to, kDigits, "--calibration_images=0"}),
              HasSubstr("--calibration_images=0: must be at least 1"));
  EXPECT_THAT(refusal({"--output=" + dense, kDigits}), HasSubstr("--checkpoint"));
  EXPECT_THAT(refusal({to, "--dataset=[type.googleapis.com/prunelab.Cifar10] { path: \"/nowhere\" }"}),
              HasSubstr("--dataset"));
}

}  // namespace
}  // namespace prunelab
