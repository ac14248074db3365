// Runs //experiments:step_benchmark as a user would.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
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

std::string FreshFolder(const std::string& name) {
  const std::string folder = testing::TempDir() + "/" + name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

Safetensors Read(const std::string& path) {
  absl::StatusOr<Safetensors> file = ReadSafetensors(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : Safetensors();
}

// The state after a step is the same whatever comes later, and in float64 it is near the one in float32.
TEST(StepBenchmarkTest, SavesTheStatesAfterSteps) {
  const std::string folder = FreshFolder("states"), exact_folder = FreshFolder("exact_states");
  const std::string pruning = "--pruning=[type.googleapis.com/prunelab.DynamicL1] { rate: 0.6 period: 2 }";
  const ProgramResult result = Benchmark({pruning, "--save_after=1,3", "--save_to=" + folder});
  ASSERT_EQ(result.status, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json.at("saved").size(), 2);
  EXPECT_EQ(json.at("recordings").get<int64_t>(), 0);  // on a CPU
  EXPECT_EQ(json.at("replays").get<int64_t>(), 0);
  const Safetensors first = Read(folder + "/step1.safetensors"), third = Read(folder + "/step3.safetensors");
  EXPECT_EQ(first.tensors.at("training/position")[1].item<int64_t>(), 1);
  EXPECT_EQ(third.tensors.at("training/position")[1].item<int64_t>(), 3);
  EXPECT_FALSE(at::equal(first.tensors.at("fc.weight"), third.tensors.at("fc.weight")));
  EXPECT_EQ(third.tensors.count("mask/conv1"), 1);
  // The same number of steps, because the images are drawn from as many as they need.
  const ProgramResult exact = Benchmark({pruning, "--save_after=1,3", "--save_to=" + exact_folder, "--dtype=float64"});
  ASSERT_EQ(exact.status, 0) << exact.err;
  const at::Tensor weight = Read(exact_folder + "/step1.safetensors").tensors.at("fc.weight");
  EXPECT_EQ(weight.scalar_type(), at::kDouble);
  EXPECT_TRUE(at::allclose(weight, first.tensors.at("fc.weight").to(at::kDouble), 1e-3, 1e-4));
}

// On the CPU every step reads its loss.
TEST(StepBenchmarkTest, CountsStepsThatWait) {
  const ProgramResult result = Benchmark(
      {"--pruning=[type.googleapis.com/prunelab.DynamicL1] { rate: 0.6 period: 2 }", "--count_waits", "--steps=4"});
  ASSERT_EQ(result.status, 0) << result.err;
  const nlohmann::json waits = nlohmann::json::parse(result.out).at("waits");
  EXPECT_EQ(waits.at("steps").get<int64_t>(), 4);
  EXPECT_EQ(waits.at("steps_with_updates").get<int64_t>(), 2);
  EXPECT_EQ(waits.at("waiting_steps").get<int64_t>(), 4);
  EXPECT_EQ(waits.at("waiting_steps_without_update").get<int64_t>(), 2);
  EXPECT_GE(waits.at("calls").at("aten::_local_scalar_dense").get<int64_t>(), 4);
}

// Masks of whole filters and the same of single weights make the same steps.
TEST(StepBenchmarkTest, MasksOfAnotherShapeChangeNothingButWhatIsHeld) {
  const std::vector<std::string> flags = {"--masks=uniform:0.6", "--steps=5", "--skipping=false",
                                          "--pruning=[type.googleapis.com/prunelab.Static] { rate: 0.6 }"};
  std::vector<std::string> changing = flags;
  changing.push_back("--new_shapes_every=2");
  const ProgramResult plain = Benchmark(flags), changed = Benchmark(changing);
  ASSERT_EQ(plain.status, 0) << plain.err;
  ASSERT_EQ(changed.status, 0) << changed.err;
  const nlohmann::json a = nlohmann::json::parse(plain.out), b = nlohmann::json::parse(changed.out);
  EXPECT_EQ(a.at("loss").get<double>(), b.at("loss").get<double>());
  ASSERT_EQ(b.at("memory").size(), 4);  // of 3 + 5 steps
  for (const auto& held : b.at("memory")) EXPECT_GT(held.at("process_bytes").get<int64_t>(), 1 << 20);
}

TEST(StepBenchmarkTest, RefusesWhatIsWrong) {
  for (const auto& [flag, message] : std::vector<std::pair<std::string, std::string>>{
           {"--masks=uniform:1.5", "[0, 1)"},
           {"--masks=/nowhere/masks.safetensors", "/nowhere/masks.safetensors"},
           {"--pruning=[type.googleapis.com/prunelab.DynamicL1] { rate: 2 }", "--pruning"},
           {"--regularizer=[type.googleapis.com/prunelab.Nothing] {}", "--regularizer"},
           {"--batch=0", "--batch=0: must be at least 1"},
           {"--precision=float16", "--precision=float16: must be float32, bfloat16 or tf32"},
           {"--learning_rate=0", "--learning_rate=0: must be above 0, and finite"},
           {"--dtype=float16", "--dtype=float16: must be float32 or float64"},
           {"--save_after=24,1", "--save_after=24,1: must be steps from 1 on and ascending"},
           {"--save_after=1", "--save_after: goes with --save_to=FOLDER"},
           {"--new_shapes_every=2", "--new_shapes_every: changes uniform masks or a file's; give --masks too"},
       }) {
    const ProgramResult result = Benchmark({flag});
    EXPECT_EQ(result.status, 2) << flag;
    EXPECT_THAT(result.err, HasSubstr(message)) << flag;
  }
}

}  // namespace
}  // namespace prunelab
