// Runs //tools:compress as a user would.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <iterator>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"
#include "ml/models/resnet_cifar.h"
#include "ml/network/network_writer.h"
#include "tools/run_program.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kCompress[] = "tools/compress";
constexpr char kDigits[] = "--dataset=[type.googleapis.com/prunelab.Digits] {}";

std::string Temporary(const std::string& name) { return testing::TempDir() + "/" + name; }

// A random ResNet-8 for the digits with 60 % of the filters dead.
Model Masked() {
  ResNetCifar parameters;
  parameters.set_depth(8);
  ImageDefaults digits;
  digits.classes = 10;
  digits.channels = 1;
  digits.height = digits.width = 8;
  Model model = RandomModel(*NetworkInfo::Create(*CreateResNetCifar(parameters, digits)), at::kFloat, 3);
  SetRandomMasks(model, MaskKind::kUniform, 5);
  return model;
}

std::string Write(const std::string& name, const Safetensors& file) {
  const std::string path = Temporary(name);
  EXPECT_TRUE(WriteSafetensors(path, file).ok());
  return path;
}

ProgramResult Compress(std::vector<std::string> arguments) {
  arguments.push_back("--latency=false");
  return RunProgram(kCompress, arguments);
}

Safetensors Read(const std::string& path) {
  absl::StatusOr<Safetensors> file = ReadSafetensors(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return *std::move(file);
}

TEST(CompressToolTest, ASmallerCheckpointThatSaysTheSame) {
  const std::string dense = Write("dense.safetensors", ModelToSafetensors(Masked()));
  const std::string small = Temporary("small.safetensors"), onnx = Temporary("small.onnx");
  const ProgramResult result =
      RunProgram(kCompress, {"--checkpoint=" + dense, "--output=" + small, "--onnx=" + onnx, kDigits});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("shrink"), HasSubstr("MACs of one image"), HasSubstr("ms at batch 1,"),
                                HasSubstr("ms at batch 64,"), HasSubstr("on 256 test images"),
                                HasSubstr("predictions that differ: 0")));
  EXPECT_LT(std::stod(After(result.out, "largest logit: ")), 1e-5);
  EXPECT_TRUE(PathExists(onnx));
  const std::string before = RunProgram("tools/evaluate", {"--checkpoint=" + dense, kDigits}).out;
  const ProgramResult after = RunProgram("tools/evaluate", {"--checkpoint=" + small, kDigits});
  ASSERT_EQ(after.status, 0) << after.err;
  EXPECT_EQ(After(before, "top-1  "), After(after.out, "top-1  "));
  EXPECT_EQ(After(before, "top-5  "), After(after.out, "top-5  "));
  const ProgramResult inspected = RunProgram("tools/inspect", {"--checkpoint=" + small});
  ASSERT_EQ(inspected.status, 0) << inspected.err;
  EXPECT_THAT(inspected.out, HasSubstr("filters masked       0 of "));
}

TEST(CompressToolTest, AnotherRoundOfPruning) {
  const std::string dense = Write("dense.safetensors", ModelToSafetensors(Masked()));
  const std::string once = Temporary("once.safetensors"), twice = Temporary("twice.safetensors");
  ASSERT_EQ(Compress({"--checkpoint=" + dense, "--output=" + once}).status, 0);
  const ProgramResult result =
      Compress({"--checkpoint=" + once, "--output=" + twice,
                "--pruning=[type.googleapis.com/prunelab.Static] { rate: 0.5 ranking { min_live_filters: 1 } }"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto numbers = [](const std::string& path) {
    int64_t count = 0;
    for (const auto& [name, tensor] : Read(path).tensors) count += tensor.numel();
    return count;
  };
  EXPECT_LT(numbers(once), numbers(dense));
  EXPECT_LT(numbers(twice), numbers(once));
}

TEST(CompressToolTest, GradientsNeedData) {
  Model model = Masked();
  model.SetMasks({});
  const std::string dense = Write("dense.safetensors", ModelToSafetensors(model));
  const std::string small = Temporary("by_gradient.safetensors");
  const std::string pruning =
      "--pruning=[type.googleapis.com/prunelab.Static] { rate: 0.3 importance: WEIGHT_TIMES_GRADIENT }";
  const ProgramResult refused = Compress({"--checkpoint=" + dense, "--output=" + small, pruning});
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("--pruning: "), HasSubstr("calibration data")));
  EXPECT_FALSE(PathExists(small));
  const ProgramResult result = Compress({"--checkpoint=" + dense, "--output=" + small, pruning, kDigits});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(PathExists(small));
}

TEST(CompressToolTest, TheFastestLayoutHere) {
  const std::string dense = Write("dense.safetensors", ModelToSafetensors(Masked()));
  const std::string small = Temporary("fastest.safetensors");
  const ProgramResult result = RunProgram(kCompress, {"--checkpoint=" + dense, "--output=" + small, kDigits,
                                                      "--for=here", "--batch_size=3", "--seconds=0.3"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("ms at batch 3\n"), HasSubstr("(taken)"), HasSubstr("live channels"),
                                HasSubstr("ms at batch 3, median"), HasSubstr("predictions that differ: 0")));
  EXPECT_THAT(result.out, Not(HasSubstr("at batch 64")));
}

// An onnxruntime that has only what is asked for, and is four times as slow for files of which SLOW says so: what it is
// given must be networks, threads and images as asked for.
constexpr char kEngine[] = R"(
import os, time
class SessionOptions: pass
class Input: name, shape = "images", ["batch", 1, 8, 8]
class InferenceSession:
    sizes = set()
    def __init__(self, path, options, providers):
        self.file, self.size = open(path, "rb").read(), os.path.getsize(path)
        self.sizes.add(self.size)
        assert options.intra_op_num_threads >= 1 and providers == ["CPUExecutionProvider"]
    def get_inputs(self): return [Input]
    def run(self, names, inputs):
        assert inputs["images"].shape == (2, 1, 8, 8), inputs["images"].shape
        time.sleep(0.004 if SLOW else 0.001)
)";

// The part of numpy that the script uses, for machines without it.
constexpr char kNumpy[] = R"(
float32 = float
def prod(shape):
    size = 1
    for n in shape: size *= n
    return size
def linspace(low, high, size): return Array(size)
def sin(values): return values
def quantile(values, q): return sorted(values)[int(q * (len(values) - 1))]
class Array:
    def __init__(self, size): self.size = size
    def __rmul__(self, factor): return self
    def astype(self, kind): return self
    def reshape(self, shape):
        self.shape = tuple(shape)
        return self
)";

// A Python that has this engine, in a new folder.
std::string PythonWithEngine(const std::string& folder, const std::string& slow) {
  EXPECT_EQ(mkdir(folder.c_str(), 0777), 0);
  EXPECT_TRUE(WriteFileAtomically(folder + "/onnxruntime.py", absl::StrReplaceAll(kEngine, {{"SLOW", slow}})).ok());
  EXPECT_TRUE(WriteFileAtomically(folder + "/numpy.py", kNumpy).ok());
  const std::string python = folder + "/python";
  EXPECT_TRUE(
      WriteFileAtomically(python, absl::StrCat("#!/bin/sh\nPYTHONPATH=", folder, " exec python3 \"$@\"\n")).ok());
  EXPECT_EQ(chmod(python.c_str(), 0755), 0);
  return python;
}

// An engine that likes the second smallest of the networks that it is given: of groups by multiples of 1, 4, 8 and 16
// those of 4.
TEST(CompressToolTest, CoupledGroupsForAnEngine) {
  const std::string python = PythonWithEngine(Temporary("coupled_engine"), "self.size != sorted(self.sizes)[1]");
  const std::string dense = Write("dense.safetensors", ModelToSafetensors(Masked()));
  const std::string small = Temporary("coupled_engine.safetensors");
  const std::vector<std::string> common = {"--checkpoint=" + dense, "--output=" + small, "--mode=coupled",
                                           "--for=onnxruntime",     "--batch_size=2",    "--seconds=0.3",
                                           "--python=" + python};
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), common.begin(), common.end());
    return RunProgram(kCompress, arguments);
  };
  ProgramResult result = run({"--rate=0.4"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("\n4 (taken)"), HasSubstr("\n8 "), HasSubstr("times as fast as before"),
                                HasSubstr("ms in onnxruntime at batch 2, median")));
  const NetworkInfo info = *StoredNetwork(Read(small).metadata, small);
  int64_t narrower = 0;
  for (const ConvInfo& conv : info.convs()) {
    EXPECT_EQ(conv.filters % 4, 0) << conv.node;
    narrower += conv.filters % 16 != 0;
  }
  EXPECT_GT(narrower, 0);
  // Each meets the goal by a rate of its own. A multiple that is given is the only one.
  result = run({"--target=parameters: 0.5"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("(taken)"), HasSubstr("of the dense network's parameters")));
  EXPECT_NEAR(std::stod(After(result.out, "target: ")), 0.5, 0.01);
  // What no multiple reaches is an error, of the finest one, and so it is after a dry run.
  result = run({"--target=macs: 0.00001"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("the least share"));
  result = RunProgram(kCompress, {"--checkpoint=" + dense, "--mode=coupled", "--for=here", "--target=macs: 0.00001",
                                  "--dry_run", "--seconds=0.1"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.out, HasSubstr("groups of channels by multiples of 8:"));
  result = run({"--rate=0.4", "--groups=round: 8"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("\n8 (taken)"), Not(HasSubstr("\n4 "))));
}

TEST(CompressToolTest, TheFastestLayoutInAnotherEngine) {
  const std::string folder = Temporary("engine"), python = PythonWithEngine(folder, "b'Gather' in self.file");
  const std::string dense = Write("dense.safetensors", ModelToSafetensors(Masked()));
  const std::string onnx = Temporary("fastest.onnx");
  const ProgramResult result =
      RunProgram(kCompress, {"--checkpoint=" + dense, "--onnx=" + onnx, kDigits, "--for=onnxruntime", "--batch_size=2",
                             "--seconds=0.3", "--python=" + python});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("(taken)"), HasSubstr("ms in onnxruntime at batch 2, median")));
  const absl::StatusOr<std::string> file = ReadFile(onnx);
  ASSERT_TRUE(file.ok());
  EXPECT_THAT(*file, Not(HasSubstr("Gather")));

  ASSERT_TRUE(WriteFileAtomically(folder + "/onnxruntime.py", "raise ImportError('no such engine')").ok());
  const ProgramResult missing =
      RunProgram(kCompress, {"--checkpoint=" + dense, "--onnx=" + onnx, "--for=onnxruntime", "--python=" + python});
  EXPECT_EQ(missing.status, 2);
  EXPECT_THAT(missing.err, AllOf(HasSubstr("cannot time networks in onnxruntime"), HasSubstr("--python names one"),
                                 HasSubstr("no such engine")));
  const ProgramResult none =
      RunProgram(kCompress, {"--checkpoint=" + dense, "--onnx=" + onnx, "--for=openvino", "--python=no_such_python"});
  EXPECT_EQ(none.status, 2);
  EXPECT_THAT(none.err, HasSubstr("no_such_python"));
}

TEST(CompressToolTest, PyTorchWeightsCoupledRoundedFolded) {
  Safetensors state = ModelToSafetensors(Masked());
  state.metadata.clear();
  const std::string weights = Write("state.safetensors", state);
  const std::string small = Temporary("folded.safetensors");
  const std::string network = "--network=[type.googleapis.com/prunelab.ResNetCifar] { depth: 8 }";
  const ProgramResult missing = Compress({"--checkpoint=" + weights, "--output=" + small});
  EXPECT_EQ(missing.status, 2);
  EXPECT_THAT(missing.err, AllOf(HasSubstr("carries no network"), HasSubstr("--network=")));
  ASSERT_EQ(
      Compress({"--checkpoint=" + weights, "--output=" + small, network, kDigits, "--round=8", "--fold_batch_norm"})
          .status,
      0);
  for (const auto& [name, tensor] : Read(small).tensors) EXPECT_EQ(name.find("running_mean"), std::string::npos);
  const ProgramResult coupled =
      Compress({"--checkpoint=" + weights, "--output=" + small, network, kDigits, "--mode=coupled", "--rate=0.5"});
  ASSERT_EQ(coupled.status, 0) << coupled.err;
  EXPECT_THAT(coupled.out, HasSubstr("groups of channels removed"));
}

// The two numbers of a row of the sizes' table.
std::pair<double, double> BeforeAndAfter(const std::string& out, const std::string& row) {
  std::istringstream numbers(After(out, row));
  double before = 0, after = 0;
  numbers >> before >> after;
  return {before, after};
}

// A random ResNet-14 for the digits, of which nothing is masked.
std::string Unmasked() {
  ResNetCifar parameters;
  parameters.set_depth(14);
  ImageDefaults digits;
  digits.classes = 10;
  digits.channels = 1;
  digits.height = digits.width = 8;
  return Write(
      "unmasked.safetensors",
      ModelToSafetensors(RandomModel(*NetworkInfo::Create(*CreateResNetCifar(parameters, digits)), at::kFloat, 3)));
}

TEST(CompressToolTest, ATargetIsMetByEitherRate) {
  const std::string dense = Unmasked(), small = Temporary("to_target.safetensors");
  const std::string by_layer = "--pruning=[type.googleapis.com/prunelab.Static] { ranking { scope: PER_LAYER } }";
  struct Asked {
    std::string target, row;
    double share;
  };
  for (const Asked& asked : {Asked{"macs: 0.5", "MACs of one image", 0.5},
                             {"parameters: 0.25", "parameters, stored constants counted", 0.25},
                             {"file_bytes: 0.3", "file, bytes", 0.3}}) {
    for (const std::string& how : {by_layer, std::string("--mode=coupled")}) {
      SCOPED_TRACE(absl::StrCat(asked.target, " ", how));
      const ProgramResult result =
          Compress({"--checkpoint=" + dense, "--output=" + small, kDigits, "--target=" + asked.target, how});
      ASSERT_EQ(result.status, 0) << result.err;
      const auto [before, after] = BeforeAndAfter(result.out, asked.row);
      EXPECT_NEAR(after / before, asked.share, 0.02 * asked.share) << result.out;
      EXPECT_THAT(result.out, HasSubstr(absl::StrFormat("target: %.4f of the dense network's ", after / before)));
      // The rate that it says leaves the same network.
      const std::string bytes = *ReadFile(small);
      const std::string by = After(result.out, "is asked for, by ");
      if (by.find("first") != std::string::npos) continue;  // two rates, which no single command has
      const double rate = std::stod(After(by, "rate "));
      const std::string with_rate = how == by_layer
                                        ? absl::StrCat("--pruning=[type.googleapis.com/prunelab.Static] { rate: ", rate,
                                                       " ranking { scope: PER_LAYER } }")
                                        : absl::StrCat("--rate=", rate);
      std::vector<std::string> again = {"--checkpoint=" + dense, "--output=" + small, kDigits, with_rate};
      if (how != by_layer) again.push_back(how);
      ASSERT_EQ(Compress(again).status, 0);
      EXPECT_EQ(*ReadFile(small), bytes);
    }
  }
}

// Masks that the checkpoint has are where the search begins; what they leave is not undone.
TEST(CompressToolTest, ATargetOfAMaskedCheckpoint) {
  const std::string masked = Write("masked.safetensors", ModelToSafetensors(Masked()));
  const std::string by_layer = "--pruning=[type.googleapis.com/prunelab.Static] { ranking { scope: PER_LAYER } }";
  const ProgramResult above = Compress({"--checkpoint=" + masked, "--target=macs: 0.9", "--dry_run", by_layer});
  EXPECT_EQ(above.status, 2);
  EXPECT_THAT(above.err, HasSubstr("without pruning anything, removal leaves less of the dense network's MACs: 0."));
  const double left = std::stod(After(above.err, "dense network's MACs: "));
  const std::string small = Temporary("masked_to_target.safetensors");
  const ProgramResult below =
      Compress({"--checkpoint=" + masked, "--output=" + small, absl::StrCat("--target=macs: ", left / 2), by_layer});
  ASSERT_EQ(below.status, 0) << below.err;
  const auto [before, after] = BeforeAndAfter(below.out, "MACs of one image");
  EXPECT_NEAR(after / before, left / 2, 0.02 * left / 2) << below.out;
}

// By Torch-Pruning's importance, in multiples of 4.
TEST(CompressToolTest, GroupsGoAsTheRankingSays) {
  const std::string small = Temporary("ranked.safetensors");
  const auto removed = [&](const std::string& groups) {
    const ProgramResult result = Compress({"--checkpoint=" + Unmasked(), "--output=" + small, kDigits, "--mode=coupled",
                                           "--rate=0.45", "--groups=" + groups});
    EXPECT_EQ(result.status, 0) << result.err;
    std::vector<int64_t> widths;
    for (const auto& [name, tensor] : Read(small).tensors) {
      if (tensor.dim() == 4) widths.push_back(tensor.size(0));
    }
    return widths;
  };
  const std::vector<int64_t> rounded = removed("importance: GROUP_NORM normalize: MEAN round: 4");
  const std::vector<int64_t> plain = removed("importance: GROUP_NORM normalize: MEAN");
  ASSERT_EQ(rounded.size(), plain.size());
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(rounded[i], (plain[i] + 3) / 4 * 4);
  EXPECT_NE(rounded, plain);
  EXPECT_NE(removed("importance: RANDOM"), plain);
  const std::vector<int64_t> by_images = removed("importance: FISHER divided_by: MACS images: 64");
  EXPECT_NE(by_images, plain);
  EXPECT_EQ(by_images, removed("importance: FISHER divided_by: MACS images: 64"));
}

// Rounding up to multiples costs, too, and is in what is met.
TEST(CompressToolTest, ATargetIsMetWithRoundedChannels) {
  const std::string small = Temporary("to_target.safetensors");
  const ProgramResult result =
      Compress({"--checkpoint=" + Unmasked(), "--output=" + small, kDigits, "--target=macs: 0.5", "--round=4",
                "--pruning=[type.googleapis.com/prunelab.Static] { ranking { scope: GLOBAL_LAYER_MEAN } }"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto [before, after] = BeforeAndAfter(result.out, "MACs of one image");
  EXPECT_NEAR(after / before, 0.5, 0.01) << result.out;
}

TEST(CompressToolTest, WhatATargetCanReachIsSaidWithoutWriting) {
  const std::string dense = Unmasked();
  const std::string pruning = "--pruning=[type.googleapis.com/prunelab.Random] { ranking { scope: PER_LAYER } }";
  const ProgramResult dry = Compress({"--checkpoint=" + dense, "--target=macs: 0.4", "--dry_run", pruning});
  ASSERT_EQ(dry.status, 0) << dry.err;
  EXPECT_THAT(dry.out, AllOf(HasSubstr("of the MACs"), HasSubstr("of the parameters"), HasSubstr("of the file size"),
                             HasSubstr("where 0.4 is asked for"), Not(HasSubstr("wrote"))));
  // A rate of 0.5 leaves what removal at this rate leaves.
  const std::string small = Temporary("half.safetensors");
  const ProgramResult half = Compress({"--checkpoint=" + dense, "--output=" + small,
                                       "--pruning=[type.googleapis.com/prunelab.Random] { rate: 0.5 ranking { scope: "
                                       "PER_LAYER } }"});
  ASSERT_EQ(half.status, 0) << half.err;
  const auto [before, after] = BeforeAndAfter(half.out, "MACs of one image");
  EXPECT_NEAR(std::stod(After(dry.out, "\n0.5  ")), after / before, 1e-4) << dry.out;

  // What is wrong with the strategy itself is said, not taken for a network that cannot be made smaller.
  const auto refused = [&](const std::string& strategy) {
    const ProgramResult result = Compress({"--checkpoint=" + dense, "--target=macs: 0.4", "--dry_run",
                                           "--pruning=[type.googleapis.com/prunelab." + strategy});
    EXPECT_EQ(result.status, 2) << result.out;
    return result.err;
  };
  EXPECT_THAT(refused("Snip] { granularity: FILTER }"), HasSubstr("data"));
  EXPECT_THAT(refused("Fpgm] { norm_rate: 0.3 }"), HasSubstr("norm_rate: may not be above the rate"));

  const ProgramResult too_small =
      Compress({"--checkpoint=" + dense, "--target=macs: 0.00001", "--mode=coupled", "--dry_run"});
  EXPECT_EQ(too_small.status, 2);
  EXPECT_THAT(too_small.out, HasSubstr("of the MACs"));
  EXPECT_THAT(too_small.err, HasSubstr("--target: macs is 1e-05, and the least share of the dense network's MACs"));
}

TEST(CompressToolTest, BadInputIsRefusedByName) {
  const std::string output = Temporary("never.safetensors");
  const auto refusal = [&](const Safetensors& file, std::vector<std::string> flags = {}) {
    flags.push_back("--checkpoint=" + Write("bad.safetensors", file));
    flags.push_back("--output=" + output);
    const ProgramResult result = Compress(flags);
    EXPECT_EQ(result.status, 2) << result.out;
    EXPECT_FALSE(PathExists(output));
    return result.err;
  };
  const Safetensors good = ModelToSafetensors(Masked());
  Safetensors bad = good;
  bad.tensors["layer1.0.conv1.mask"] = at::ones({16, 16, 3, 1});
  EXPECT_THAT(refusal(bad), AllOf(HasSubstr("bad.safetensors"), HasSubstr("layer1.0.conv1.mask is [16, 16, 3, 1]")));
  bad = good;
  bad.tensors["layer2.0.conv1.weight"] = good.tensors.at("layer2.0.conv1.weight").detach().clone();
  bad.tensors["layer2.0.conv1.weight"][3][2][0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(refusal(bad), AllOf(HasSubstr("bad.safetensors"), HasSubstr("layer2.0.conv1.weight"), HasSubstr("] is "),
                                  HasSubstr("; must be finite")));
  bad = good;
  std::string& network = bad.metadata["network"];
  network = absl::StrReplaceAll(network, {{"input: \"layer1.0.conv1\"", "input: \"layer1.0.conv2\""}});
  EXPECT_THAT(refusal(bad), AllOf(HasSubstr("bad.safetensors"), HasSubstr("layer1.0.conv2")));  // a cycle
  network = absl::StrReplaceAll(good.metadata.at("network"), {{"input: \"layer1.0.conv1\"", "input: \"nobody\""}});
  EXPECT_THAT(refusal(bad), AllOf(HasSubstr("bad.safetensors"), HasSubstr("nobody")));
  EXPECT_THAT(refusal(good, {"--mode=half"}), HasSubstr("must be exact or coupled"));
  EXPECT_THAT(refusal(good, {"--rate=0.5"}), HasSubstr("--mode=coupled"));
  EXPECT_THAT(refusal(good, {"--mode=coupled", "--rate=1"}), HasSubstr("at least 0 and below 1"));
  EXPECT_THAT(refusal(good, {"--round=0"}), HasSubstr("must be at least 1; --for=here finds the fastest"));
  EXPECT_THAT(refusal(good, {"--round=4", "--mode=coupled"}), HasSubstr("--round goes with --mode=exact"));
  EXPECT_THAT(refusal(good, {"--for=here", "--mode=coupled"}), HasSubstr("--for goes with --rate or --target"));
  EXPECT_THAT(refusal(good, {"--for=tensorrt"}), HasSubstr("must be here, onnxruntime or openvino"));
  EXPECT_THAT(refusal(good, {"--for=here", "--streams=full"}), HasSubstr("--streams does not go with --for"));
  EXPECT_THAT(refusal(good, {"--streams=wide"}), HasSubstr("must be scattered, full or convolved"));
  EXPECT_THAT(refusal(good, {"--for=here", "--seconds=0"}), HasSubstr("--seconds=0: must be above 0"));
  EXPECT_THAT(refusal(good, {"--for=here"}), HasSubstr("--latency=false does not go with --for"));
  EXPECT_THAT(refusal(good, {"--batch_size=4"}), HasSubstr("--batch_size goes with --for"));
  EXPECT_THAT(refusal(good, {"--for=here", "--python=python3"}), HasSubstr("--for=onnxruntime or openvino"));
  EXPECT_THAT(refusal(good, {"--for=here", "--batch_size=0"}), HasSubstr("must be at least 1"));
  EXPECT_THAT(refusal(good, {"--pruning=[type.googleapis.com/prunelab.Static] { rate: 2 }"}),
              AllOf(HasSubstr("--pruning"), HasSubstr("rate")));
  EXPECT_THAT(refusal(good, {"--pruning=[type.googleapis.com/prunelab.Static] { rate: 0.5 epoch: 9 }"}),
              AllOf(HasSubstr("--pruning"), HasSubstr("epoch is set"), HasSubstr("leave it out")));
  EXPECT_THAT(refusal(good, {"--calibration_images=9"}), HasSubstr("goes with --pruning and --dataset"));
  EXPECT_THAT(refusal(good, {"--target=macs: 0.5"}), HasSubstr("--target goes with --pruning, whose rate it finds"));
  EXPECT_THAT(refusal(good, {"--target=macs: 2", "--mode=coupled"}),
              HasSubstr("--target: macs: is 2; must be above 0 and below 1"));
  EXPECT_THAT(refusal(good, {"--target=mac: 0.5", "--mode=coupled"}),
              AllOf(HasSubstr("--target:1:1"), HasSubstr("mac")));
  EXPECT_THAT(refusal(good, {"--target=macs: 0.5", "--mode=coupled", "--rate=0.5"}),
              HasSubstr("--rate does not go with"));
  EXPECT_THAT(refusal(good, {"--target=macs: 0.5", "--pruning=[type.googleapis.com/prunelab.Static] { rate: 0.5 }"}),
              AllOf(HasSubstr("--pruning: rate: is 0.5"), HasSubstr("leave it out")));
  EXPECT_THAT(refusal(good, {"--target=macs: 0.5", "--pruning=[type.googleapis.com/prunelab.NoPruning] {}"}),
              HasSubstr("has no rate"));
  EXPECT_THAT(refusal(good, {"--target=latency: 0.5 batch: 0", "--mode=coupled"}), HasSubstr("batch: is 0"));
  EXPECT_THAT(refusal(good, {"--target=macs: 0.5", "--mode=coupled", "--dry_run"}),
              HasSubstr("--output does not go with --dry_run"));
  EXPECT_THAT(refusal(good, {"--groups=importance: GROUP_NORM", "--mode=coupled"}), HasSubstr("--rate or --target"));
  EXPECT_THAT(refusal(good, {"--groups=round: 0", "--mode=coupled", "--rate=0.5"}), HasSubstr("--groups: round: is 0"));
  EXPECT_THAT(refusal(good, {"--groups=round 8", "--mode=coupled", "--rate=0.5"}), HasSubstr("--groups:1:"));
  EXPECT_THAT(refusal(good, {"--dry_run"}), HasSubstr("--dry_run goes with --target"));
  EXPECT_THAT(refusal(good, {"--target=macs: 0.5", "--mode=coupled", "--seconds=1"}), HasSubstr("--seconds goes with"));
  EXPECT_THAT(refusal(good, {"--seed=9", kDigits}), HasSubstr("goes with --pruning, with --groups that draw"));
  EXPECT_THAT(refusal(good, {"--groups=normalize: LOSS", "--mode=coupled", "--rate=0.5"}),
              HasSubstr("--groups=normalize: LOSS: looks at training images; give --dataset"));
  const std::string path = Write("same.safetensors", good);
  const std::string bytes = *ReadFile(path);
  const auto at = [](const char* name) { return absl::StrCat(testing::TempDir(), "/", name); };
  unlink(at("soft").c_str());
  unlink(at("hard").c_str());
  ASSERT_EQ(symlink("same.safetensors", at("soft").c_str()), 0);
  ASSERT_EQ(link(path.c_str(), at("hard").c_str()), 0);
  for (const std::string& name : {path, at("./same.safetensors"), at("soft"), at("hard")}) {
    for (const char* flag : {"--output=", "--onnx="}) {
      const ProgramResult result = Compress({"--checkpoint=" + path, flag + name});
      EXPECT_EQ(result.status, 2) << name;
      EXPECT_THAT(result.err, HasSubstr("is the file that --checkpoint=")) << name;
    }
  }
  EXPECT_EQ(*ReadFile(path), bytes);
  EXPECT_THAT(Compress({"--checkpoint=" + path, "--output=" + at("both"), "--onnx=" + at("./both")}).err,
              HasSubstr("is the file that --output="));
  EXPECT_THAT(Compress({"--checkpoint=" + path, "--output=" + testing::TempDir()}).err,
              HasSubstr("is the name of a folder"));
  EXPECT_THAT(Compress({"--checkpoint=" + path, "--output=" + testing::TempDir() + "."}).err, HasSubstr("is a folder"));
}

// Images and labels are inputs, too.
TEST(CompressToolTest, DoesNotWriteOverTheDataSet) {
  const std::string checkpoint = Write("masked.safetensors", ModelToSafetensors(Masked()));
  Safetensors data;
  for (const char* part : {"train", "test"}) {
    data.tensors[absl::StrCat(part, "_images")] = at::randint(0, 256, {20, 1, 8, 8}).to(at::kByte);
    data.tensors[absl::StrCat(part, "_labels")] = at::arange(20).remainder(10).to(at::kLong);
  }
  const std::string path = Write("data.safetensors", data), bytes = *ReadFile(path);
  const std::string dataset =
      absl::StrCat("--dataset=[type.googleapis.com/prunelab.SafetensorsDataset] { path: '", path, "' }");
  const ProgramResult result = Compress({"--checkpoint=" + checkpoint, dataset, "--output=" + path});
  EXPECT_EQ(result.status, 2) << result.out;
  EXPECT_THAT(result.err, HasSubstr("is the file that --dataset's path="));
  EXPECT_EQ(*ReadFile(path), bytes);
}

TEST(CompressToolTest, WhatCannotBeWrittenIsSaid) {
  const std::string checkpoint = "--checkpoint=" + Write("masked.safetensors", ModelToSafetensors(Masked()));
  const std::string folder = FreshFolder("limited"), output = folder + "/small.safetensors";
  const std::vector<std::string> arguments = {checkpoint, "--output=" + output, "--latency=false"};
  ProgramSetting limited;
  limited.most_file_bytes = 4096;
  ProgramResult result = RunProgram(kCompress, arguments, limited);
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("small.safetensors: cannot write: File too large"), HasSubstr("ulimit -f")));
  EXPECT_EQ(ListFolder(folder)->size(), 0);
  ProgramSetting full;
  full.standard_output = "/dev/full";
  result = RunProgram(kCompress, arguments, full);
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("standard output cannot be written: No space left on device"));
  EXPECT_TRUE(ReadSafetensors(output).ok());
  result = RunProgram(kCompress, {"--help"}, full);
  EXPECT_EQ(result.status, 1);
  // If standard output is closed, no file that is opened takes its number.
  const std::string before = *ReadFile(output);
  ProgramSetting closed;
  closed.standard_output = "-";
  result = RunProgram(kCompress, arguments, closed);
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("standard output cannot be written: Bad file descriptor"));
  EXPECT_EQ(*ReadFile(output), before);
}

TEST(CompressToolTest, HelpAndFlagsThatAreWrong) {
  const ProgramResult help = RunProgram(kCompress, {"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("compress: takes dead filters out"), HasSubstr("-calibration_images (")));
  EXPECT_EQ(help.err, "");
  const ProgramResult wrong = RunProgram(kCompress, {"--ouput=x"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_EQ(wrong.err, "--ouput is not a flag; did you mean --output?\n");
}

// The number after `what` in a table, and the one after that.
std::pair<int64_t, int64_t> Numbers(const std::string& text, const std::string& what) {
  std::istringstream rest(After(text, what));
  std::pair<int64_t, int64_t> numbers;
  rest >> numbers.first >> numbers.second;
  return numbers;
}

TEST(CompressToolTest, InspectSaysWhatIsLeft) {
  int smaller = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    Model model = RandomModel(*NetworkInfo::Create(RandomNetwork(seed)), at::kFloat, seed);
    SetRandomMasks(model, kMaskKinds[seed % std::size(kMaskKinds)], seed);
    const std::string path = Write("random.safetensors", ModelToSafetensors(model));
    const ProgramResult inspected = RunProgram("tools/inspect", {"--checkpoint=" + path});
    const ProgramResult compressed =
        Compress({"--checkpoint=" + path, "--output=" + Temporary("random_small.safetensors")});
    ASSERT_EQ(compressed.status, 0) << compressed.err;
    const auto [before, after] = Numbers(compressed.out, "parameters, stored constants counted");
    EXPECT_LE(after, before);
    smaller += after < before;
    EXPECT_EQ(std::stoll(After(After(inspected.out, "parameters    ") + "\n", "after exact removal ")), after);
    EXPECT_EQ(std::stoll(After(After(inspected.out, "MACs of one image") + "\n", "after exact removal ")),
              Numbers(compressed.out, "MACs of one image").second);
  }
  EXPECT_GT(smaller, 5);
}

TEST(CompressToolTest, MasksOfTheCheckpointStayUnderPruning) {
  const std::string masked = Write("masked.safetensors", ModelToSafetensors(Masked()));
  const std::string small = Temporary("more.safetensors");
  // 10 % of the weights, which are already masked: the network does not change.
  const ProgramResult none = Compress({"--checkpoint=" + masked, "--output=" + small, kDigits,
                                       "--pruning=[type.googleapis.com/prunelab.Unstructured] { rate: 0.1 }"});
  ASSERT_EQ(none.status, 0) << none.err;
  const std::string against = After(none.out, "as it was given, before --pruning: ");
  EXPECT_LT(std::stod(After(against + "\n", "largest logit: ")), 1e-5);
  EXPECT_THAT(against, HasSubstr("predictions that differ: 0"));
  // Masking other weights as well makes a difference.
  const ProgramResult more = Compress({"--checkpoint=" + masked, "--output=" + small, kDigits,
                                       "--pruning=[type.googleapis.com/prunelab.Unstructured] { rate: 0.95 }"});
  ASSERT_EQ(more.status, 0) << more.err;
  EXPECT_GT(std::stod(After(After(more.out, "as it was given, before --pruning: ") + "\n", "largest logit: ")), 1e-2);
}

// Weights that float32 cannot represent once they are folded: the measured difference is beyond the bound.
TEST(CompressToolTest, NothingIsWrittenThatSaysSomethingElse) {
  NetworkWriter net;
  net.Image(1, 4, 4);
  net.Conv("a", "image", {2, 1});
  net.Conv("b", "a", {2, 1});
  net.BatchNorm("bn", "b");
  net.GlobalAveragePool("gap", "bn");
  net.Flatten("flat", "gap");
  net.Linear("fc", "flat", 2);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kFloat, at::kCPU);
  model.Get("a.weight").detach().fill_(1e-30);
  model.Get("b.weight").detach().fill_(1e30);
  model.Get("bn.weight").detach().fill_(1e20);
  model.Get("fc.weight").detach().copy_(at::tensor({1e-20f, 0.f, 0.f, -1e-20f}).view({2, 2}));
  const std::string path = Write("extreme.safetensors", ModelToSafetensors(model));
  const std::string small = Temporary("extreme_small.safetensors"), onnx = Temporary("extreme.onnx");
  const ProgramResult refused =
      Compress({"--checkpoint=" + path, "--output=" + small, "--onnx=" + onnx, "--fold_batch_norm"});
  EXPECT_EQ(refused.status, 1) << refused.out;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("nothing is written"), HasSubstr("without --fold_batch_norm")));
  EXPECT_FALSE(PathExists(small));
  EXPECT_FALSE(PathExists(onnx));
  EXPECT_EQ(Compress({"--checkpoint=" + path, "--output=" + small, "--onnx=" + onnx}).status, 0);
  EXPECT_TRUE(PathExists(small));
  EXPECT_TRUE(PathExists(onnx));
}

TEST(CompressToolTest, ANetworkWhoseLogitsAreNotFiniteIsRefused) {
  NetworkWriter net;
  net.Image(1, 8, 8);
  net.Conv("b", net.Conv("a", "image", {2, 1}), {2, 1});
  net.Linear("fc", net.Flatten("flat", net.GlobalAveragePool("gap", "b")), 10);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kFloat, at::kCPU);
  InitializeParameters(model, 1);
  model.Get("a.weight").detach().fill_(1e30);
  model.Get("b.weight").detach().fill_(1e30);
  const std::string path = Write("overflow.safetensors", ModelToSafetensors(model));
  const std::string small = Temporary("overflow_small.safetensors");
  for (const char* mode : {"exact", "coupled"}) {
    for (const char* images : {kDigits, "--seed=1"}) {
      SCOPED_TRACE(std::string(mode) + " " + images);
      const ProgramResult refused =
          Compress({"--checkpoint=" + path, "--output=" + small, std::string("--mode=") + mode, images});
      EXPECT_EQ(refused.status, 2) << refused.out;
      EXPECT_THAT(refused.err, AllOf(HasSubstr("overflow.safetensors: the logits of 256 of 256 "),
                                     HasSubstr("are not finite, so nothing is written")));
      EXPECT_FALSE(PathExists(small));
    }
  }
}

}  // namespace
}  // namespace prunelab
