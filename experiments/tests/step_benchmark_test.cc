// Runs //experiments:step_benchmark as a user would.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ml/kernels/instruction_set.h"
#include "ml/safetensors/safetensors.h"
#include "tools/run_program.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

constexpr char kNetwork[] = "--network=[type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 8 image_size: 8 }";

ProgramResult Benchmark(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {kNetwork, "--batch=4", "--steps=2", "--threads=1"});
  return RunProgram("experiments/step_benchmark", arguments);
}

TEST(StepBenchmarkTest, PrintsOneObjectOnOneLine) {
  const ProgramResult result =
      Benchmark({"--pruning=[type.googleapis.com/prunelab.DynamicL1] { rate: 0.6 }",
                 "--regularizer=[type.googleapis.com/prunelab.Cov] {}", "--masks=uniform:0.6"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 1);
  const nlohmann::json json = nlohmann::json::parse(result.out);
  for (const char* key : {"milliseconds", "images_per_second", "loss", "executed_macs"}) {
    EXPECT_GT(json.at(key).get<double>(), 0) << key;
  }
  EXPECT_NEAR(json.at("images_per_second").get<double>() * json.at("milliseconds").get<double>(), 4000, 1e-6);
  EXPECT_GE(json.at("peak_bytes").get<int64_t>(), 0);
  EXPECT_TRUE(json.at("skipping").is_boolean());
  // floor(0.6 * 8), floor(0.6 * 16) and floor(0.6 * 32) of each layer's filters: the stem and two in stage 1, three in
  // each of the others.
  EXPECT_DOUBLE_EQ(json.at("filter_sparsity").get<double>(), (3 * 4 + 3 * 9 + 3 * 19) / (3 * 8.0 + 3 * 16 + 3 * 32));
}

TEST(StepBenchmarkTest, WhatIsLeftOutMeansNone) {
  // An empty value is an unset variable of a shell more often than a wish.
  const ProgramResult empty = Benchmark({"--pruning="});
  EXPECT_EQ(empty.status, 2);
  EXPECT_THAT(empty.err, HasSubstr("--pruning= has no value; write one, or leave the flag out"));
  const ProgramResult result = Benchmark({});
  ASSERT_EQ(result.status, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json.at("filter_sparsity").get<double>(), 0);
  EXPECT_EQ(json.at("executed_macs").get<int64_t>(), json.at("dense_macs").get<int64_t>());
}

TEST(StepBenchmarkTest, TakesMasksFromAFile) {
  Safetensors file;
  file.tensors["layer1.0.conv1.mask"] = at::zeros({8, 1, 1, 1});
  file.tensors["layer1.0.conv1.mask"][3] = 1;
  const std::string path = testing::TempDir() + "/masks.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
  const ProgramResult result = Benchmark({"--masks=" + path});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_DOUBLE_EQ(nlohmann::json::parse(result.out).at("filter_sparsity").get<double>(), 7 / 168.0);
}

TEST(StepBenchmarkTest, TakesTheCommittedMasksOfARealRun) {
  const ProgramResult result = RunProgram(
      "experiments/step_benchmark", {"--batch=1", "--steps=1", "--masks=tools/benchmark/epoch30_masks.safetensors"});
  ASSERT_EQ(result.status, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_DOUBLE_EQ(json.at("filter_sparsity").get<double>(), 1277 / 2128.0);
  EXPECT_LT(json.at("executed_macs").get<int64_t>(), json.at("dense_macs").get<int64_t>());
}

TEST(StepBenchmarkTest, TrainsInBfloat16WhereTheCpuCan) {
  const ProgramResult result = Benchmark({"--precision=bfloat16"});
  if (!HasBfloat16()) {
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.err, HasSubstr("--precision: is BFLOAT16, but this machine's CPU has neither avx512_bf16"));
    return;
  }
  ASSERT_EQ(result.status, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json.at("precision").get<std::string>(), "bfloat16");
  EXPECT_FALSE(json.at("skipping").get<bool>());
  EXPECT_EQ(json.at("executed_macs").get<int64_t>(), json.at("dense_macs").get<int64_t>());
}

TEST(StepBenchmarkTest, RefusesWhatIsWrong) {
  for (const auto& [flag, message] : std::vector<std::pair<std::string, std::string>>{
           {"--masks=uniform:1.5", "[0, 1)"},
           {"--masks=/nowhere/masks.safetensors", "/nowhere/masks.safetensors"},
           {"--pruning=[type.googleapis.com/prunelab.DynamicL1] { rate: 2 }", "--pruning"},
           {"--regularizer=[type.googleapis.com/prunelab.Nothing] {}", "--regularizer"},
           {"--batch=0", "--batch=0: must be at least 1"},
           {"--precision=float16", "--precision=float16: must be float32, bfloat16 or tf32"},
       }) {
    const ProgramResult result = Benchmark({flag});
    EXPECT_EQ(result.status, 2) << flag;
    EXPECT_THAT(result.err, HasSubstr(message)) << flag;
  }
}

}  // namespace
}  // namespace prunelab
