// Runs //tools:deep_compress as a user would.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"
#include "ml/models/lenet.h"
#include "ml/safetensors/safetensors.h"
#include "tools/run_program.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kDeepCompress[] = "tools/deep_compress";
constexpr char kDigits[] = "--dataset=[type.googleapis.com/prunelab.Digits] {}";
constexpr char kPruning[] = "--pruning=[type.googleapis.com/prunelab.Unstructured] { rate: 0.9 }";

std::string Temporary(const std::string& name) { return testing::TempDir() + "/" + name; }

// A fresh LeNet-5 for the digits, untrained, with a note in its metadata.
std::string WriteLeNet(const std::string& name) {
  LeNet parameters;
  parameters.set_kind(LeNet::LENET_5);
  parameters.set_padding(2);
  ImageDefaults digits;
  digits.classes = 10;
  digits.channels = 1;
  digits.height = digits.width = 8;
  Model model = Model::Create(*NetworkInfo::Create(*CreateLeNet(parameters, digits)), at::kFloat, at::kCPU);
  InitializeParameters(model, 5);
  Safetensors file = ModelToSafetensors(model);
  file.metadata["note"] = "kept";
  const std::string path = Temporary(name);
  EXPECT_TRUE(WriteSafetensors(path, file).ok());
  return path;
}

Safetensors Read(const std::string& path) {
  absl::StatusOr<Safetensors> file = ReadSafetensors(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return *std::move(file);
}

TEST(DeepCompressToolTest, ThereAndBack) {
  const std::string dense = WriteLeNet("dense.safetensors");
  const std::string small = Temporary("small.pdc"), back = Temporary("back.safetensors");
  const ProgramResult made =
      RunProgram(kDeepCompress, {"--checkpoint=" + dense, "--output=" + small, kPruning, kDigits});
  ASSERT_EQ(made.status, 0) << made.err;
  EXPECT_THAT(made.out, AllOf(HasSubstr("conv1 "), HasSubstr("all layers"), HasSubstr("times smaller"),
                              HasSubstr("xz -9e"), HasSubstr("top-1 on 359 test images: "), HasSubstr("wrote ")));
  const absl::StatusOr<std::string> bytes = ReadFile(small);
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(std::stoul(After(made.out, "the file ")), bytes->size());
  EXPECT_LT(bytes->size() * 15, ReadFile(dense)->size());
  const ProgramResult decoded = RunProgram(kDeepCompress, {"--decode=" + small, "--output=" + back});
  ASSERT_EQ(decoded.status, 0) << decoded.err;
  const Safetensors file = Read(back);
  EXPECT_EQ(file.metadata.at("note"), "kept");
  EXPECT_EQ(file.metadata.at("network"), Read(dense).metadata.at("network"));
  for (const char* layer : {"conv1", "conv2", "fc1", "fc2"}) {
    const at::Tensor& weight = file.tensors.at(absl::StrCat(layer, ".weight"));
    EXPECT_TRUE(at::equal(weight != 0, file.tensors.at(absl::StrCat(layer, ".mask")) != 0)) << layer;
  }
  // The small file, straight away and decoded, is evaluated as the tool said.
  const std::string top1 = After(made.out, "before sharing, ");
  for (const std::string& path : {small, back}) {
    const ProgramResult evaluated = RunProgram("tools/evaluate", {"--checkpoint=" + path, kDigits});
    ASSERT_EQ(evaluated.status, 0) << evaluated.err;
    EXPECT_EQ(After(evaluated.out, "top-1  ") + " after", top1);
  }
  const ProgramResult inspected = RunProgram("tools/inspect", {"--checkpoint=" + small});
  ASSERT_EQ(inspected.status, 0) << inspected.err;
  EXPECT_THAT(inspected.out, HasSubstr("conv weights masked"));
  const ProgramResult compressed = RunProgram(
      "tools/compress", {"--checkpoint=" + small, "--output=" + Temporary("removed.safetensors"), "--latency=false"});
  EXPECT_EQ(compressed.status, 0) << compressed.err;
  // Made of what was decoded, the file is the same.
  const std::string again = Temporary("again.pdc");
  ASSERT_EQ(RunProgram(kDeepCompress, {"--checkpoint=" + back, "--output=" + again}).status, 0);
  EXPECT_EQ(*ReadFile(again), *bytes);
}

TEST(DeepCompressToolTest, FineTuningLessensTheLoss) {
  const std::string dense = WriteLeNet("dense.safetensors"), small = Temporary("tuned.pdc");
  const std::vector<std::string> arguments = {"--checkpoint=" + dense, "--output=" + small, kDigits,
                                              "--conv_bits=3",         "--linear_bits=2",   "--fine_tune_epochs=2",
                                              "--fine_tune_rate=1e-3"};
  const ProgramResult made = RunProgram(kDeepCompress, arguments);
  ASSERT_EQ(made.status, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("fine-tuned 2 epochs: training loss "));
  const std::string loss = After(made.out, "\nloss: ");
  EXPECT_LT(std::stod(loss.substr(loss.find(", ") + 2)), std::stod(loss)) << loss;
  const std::string first = *ReadFile(small);
  ASSERT_EQ(RunProgram(kDeepCompress, arguments).status, 0);
  EXPECT_EQ(*ReadFile(small), first) << "it repeats";
}

TEST(DeepCompressToolTest, ADamagedFileIsRefusedByEveryProgram) {
  const std::string dense = WriteLeNet("dense.safetensors"), small = Temporary("whole.pdc");
  ASSERT_EQ(RunProgram(kDeepCompress, {"--checkpoint=" + dense, "--output=" + small}).status, 0);
  std::string bytes = *ReadFile(small);
  const std::string cut = Temporary("cut.pdc"), changed = Temporary("changed.pdc");
  ASSERT_TRUE(WriteFileAtomically(cut, bytes.substr(0, bytes.size() - 7)).ok());
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  ASSERT_TRUE(WriteFileAtomically(changed, bytes).ok());
  const std::string never = Temporary("never.safetensors");
  for (const auto& [path, message] : {std::pair(cut, "is cut off"), std::pair(changed, "does not have its checksum")}) {
    for (const ProgramResult& result : {RunProgram(kDeepCompress, {"--decode=" + path, "--output=" + never}),
                                        RunProgram("tools/evaluate", {"--checkpoint=" + path, kDigits})}) {
      EXPECT_EQ(result.status, 2);
      EXPECT_THAT(result.err, AllOf(HasSubstr(path + ": not a valid .pdc file: "), HasSubstr(message))) << path;
    }
  }
  EXPECT_FALSE(PathExists(never));
}

TEST(DeepCompressToolTest, BadInput) {
  const std::string dense = WriteLeNet("dense.safetensors"), small = Temporary("bad.pdc");
  const std::string checkpoint = "--checkpoint=" + dense, output = "--output=" + small;
  const struct {
    std::vector<std::string> arguments;
    const char* message;
  } cases[] = {
      {{}, "--output is missing: a .pdc file, or with --decode a .safetensors file"},
      {{output}, "give --checkpoint=F.safetensors, to make a .pdc file, or --decode=F.pdc, to read one"},
      {{output, checkpoint, "--decode=x.pdc"}, "give either --checkpoint"},
      {{output, "--decode=no_such.pdc"}, "--decode: no_such.pdc: no such file in /"},
      {{output, "--decode=" + dense}, "it does not begin as one; //tools:deep_compress makes such files"},
      {{output, "--decode=" + dense, "--conv_bits=4"}, "--conv_bits goes with --checkpoint; --decode only reads"},
      {{output, "--decode=" + dense, "--ignore=x"}, "--ignore goes with --checkpoint"},
      {{checkpoint, "--output=" + dense}, "is the file that --checkpoint="},
      {{output, checkpoint, "--conv_bits=0"}, "--conv_bits=0: must be from 1 to 16"},
      {{output, checkpoint, "--linear_bits=17"}, "--linear_bits=17: must be from 1 to 16"},
      {{output, checkpoint, "--gap_bits=-1"}, "--gap_bits=-1: must be from 1 to 16, or 0 for the best"},
      {{output, checkpoint, "--fine_tune_epochs=3"}, "--fine_tune_epochs goes with --dataset"},
      {{output, checkpoint, "--fine_tune_rate=0.1", kDigits}, "--fine_tune_rate goes with --fine_tune_epochs"},
      {{output, checkpoint, kDigits, "--fine_tune_epochs=1", "--fine_tune_rate=0"},
       "--fine_tune_rate=0: must be above 0"},
      {{output, checkpoint, kDigits, "--fine_tune_epochs=9", "--fine_tune_rate=1e30"},
       "--fine_tune_epochs: the loss is "},
      {{output, checkpoint, "--seed=3"}, "--seed goes with --pruning or --fine_tune_epochs"},
      {{output, checkpoint, "--calibration_images=3"}, "--calibration_images goes with --pruning and --dataset"},
      {{output, checkpoint, "--pruning=[type.googleapis.com/prunelab.Static] { rate: 2 }"}, "--pruning: "},
      {{output, checkpoint, "--dataset=[type.googleapis.com/prunelab.Synthetic] {}"}, "--dataset: has images of "},
      {{output, "--checkpoint=no_such.safetensors"}, "--checkpoint: no_such.safetensors: no such file in /"},
  };
  for (const auto& bad : cases) {
    const ProgramResult result = RunProgram(kDeepCompress, bad.arguments);
    EXPECT_EQ(result.status, 2) << bad.message;
    EXPECT_THAT(result.err, HasSubstr(bad.message));
  }
  EXPECT_FALSE(PathExists(small));
  // Another program that expects safetensors says what the file is.
  ASSERT_EQ(RunProgram(kDeepCompress, {checkpoint, output}).status, 0);
  const ProgramResult images =
      RunProgram("tools/evaluate", {checkpoint, "--input=" + small, "--output=" + Temporary("never.safetensors")});
  EXPECT_THAT(images.err, HasSubstr("it is a checkpoint made small by Deep Compression (.pdc); make a safetensors file "
                                    "of it: bazel run //tools:deep_compress -- --decode=bad.pdc"));
}

}  // namespace
}  // namespace prunelab
