// Runs //tools:sensitivity as a user would.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "ml/base/files.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/testing/random_models.h"
#include "ml/data/dataset.h"
#include "ml/data/validation_split.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"
#include "ml/execution/plan.h"
#include "ml/models/resnet_cifar.h"
#include "ml/training/evaluate.h"
#include "tools/run_program.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kSensitivity[] = "tools/sensitivity";
constexpr char kDigits[] = "--dataset=[type.googleapis.com/prunelab.Digits] {}";

std::string Temporary(const std::string& name) { return testing::TempDir() + "/" + name; }

// A random ResNet-8 for the digits.
Model Dense() {
  ResNetCifar parameters;
  parameters.set_depth(8);
  ImageDefaults digits;
  digits.classes = 10;
  digits.channels = 1;
  digits.height = digits.width = 8;
  return RandomModel(*NetworkInfo::Create(*CreateResNetCifar(parameters, digits)), at::kFloat, 3);
}

std::string Checkpoint() {
  const std::string path = Temporary("dense.safetensors");
  EXPECT_TRUE(WriteSafetensors(path, ModelToSafetensors(Dense())).ok());
  return path;
}

ProgramResult Measure(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"--checkpoint=" + Checkpoint(), kDigits};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return RunProgram(kSensitivity, arguments);
}

// Cells by layer and rate; the first two lines are the table's head.
std::map<std::string, std::vector<std::string>> Rows(const std::string& path) {
  std::map<std::string, std::vector<std::string>> rows;
  const std::vector<std::string> lines = absl::StrSplit(*ReadFile(path), '\n', absl::SkipEmpty());
  for (size_t i = 2; i < lines.size(); ++i) {
    const std::vector<std::string> cells = absl::StrSplit(lines[i], ',');
    EXPECT_TRUE(rows.emplace(cells[0] + "@" + cells[1], cells).second) << lines[i];
  }
  return rows;
}

double Number(const std::string& text) {
  double number = 0;
  EXPECT_TRUE(absl::SimpleAtod(text, &number)) << text;
  return number;
}

// Each number, computed here: the filters of least mean |w| masked, the loss on the images set aside, and what removal
// leaves.
TEST(SensitivityToolTest, MeasuresEachLayerByItself) {
  const std::string output = Temporary("measured.csv"), page = Temporary("measured.html");
  std::remove(output.c_str());
  const ProgramResult result = Measure({"--output=" + output, "--page=" + page, "--rates=0.3,0.6",
                                        "--validation_fraction=0.2", "--validation_seed=4", "--layers=layer*conv*"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto rows = Rows(output);
  ASSERT_EQ(rows.size(), 1u + 2 * 6);
  google::protobuf::Any digits;
  digits.set_type_url("type.googleapis.com/prunelab.Digits");
  const Dataset data = *OpenDataset(digits);
  const LabelledImages validation = SplitOffValidation(data.train, 10, 0.2, 4)->validation;
  const auto expect = [&](const std::vector<std::string>& cells, Model model) {
    SCOPED_TRACE(absl::StrJoin(cells, ","));
    ReferencePlan plan;
    const Evaluation evaluation = *Evaluate(model, plan, validation, data.normalization, 100);
    EXPECT_NEAR(Number(cells[4]), evaluation.loss, 1e-5 * evaluation.loss);
    EXPECT_EQ(Number(cells[5]), evaluation.top1);
    const RemovedSize size = SizeAfterRemoval(model);
    EXPECT_EQ(Number(cells[6]), static_cast<double>(size.macs));
    EXPECT_EQ(Number(cells[7]), static_cast<double>(size.parameters));
  };
  expect(rows.at("@0"), Dense());
  for (const std::string layer : {"layer1.0.conv1", "layer2.0.conv2", "layer3.0.conv1"}) {
    for (const double rate : {0.3, 0.6}) {
      Model model = Dense();
      const at::Tensor norms = model.Get(layer + ".weight").detach().abs().mean({1, 2, 3});
      const auto masked = static_cast<int64_t>(static_cast<double>(norms.size(0)) * rate) + 1;
      at::Tensor mask = at::ones({norms.size(0), 1, 1, 1});
      mask.index_fill_(0, norms.argsort().slice(0, 0, masked), 0);
      model.SetMasks({{layer, mask}});
      const std::vector<std::string>& cells = rows.at(absl::StrCat(layer, "@", rate));
      EXPECT_EQ(cells[2], absl::StrCat(norms.size(0)));
      EXPECT_EQ(cells[3], absl::StrCat(masked));
      expect(cells, std::move(model));
    }
  }
  EXPECT_THAT(result.out, AllOf(HasSubstr("validation images"), HasSubstr("layer3.0.conv2")));
  EXPECT_THAT(*ReadFile(page), AllOf(HasSubstr("Plotly.newPlot"), HasSubstr("\"layer2.0.conv1\"")));
}

TEST(SensitivityToolTest, WhatWasMeasuredIsNotMeasuredAgain) {
  const std::string output = Temporary("resumed.csv");
  std::remove(output.c_str());
  const std::vector<std::string> flags = {"--output=" + output, "--rates=0.5", "--layers=layer*conv*"};
  const ProgramResult first = Measure(flags);
  ASSERT_EQ(first.status, 0) << first.err;
  const auto rows = Rows(output);
  // Killed before the last two layers.
  std::vector<std::string> lines = absl::StrSplit(*ReadFile(output), '\n', absl::SkipEmpty());
  lines.resize(lines.size() - 2);
  ASSERT_TRUE(WriteFileAtomically(output, absl::StrJoin(lines, "\n") + "\n").ok());
  const ProgramResult second = Measure(flags);
  ASSERT_EQ(second.status, 0) << second.err;
  EXPECT_EQ(Rows(output), rows);
  EXPECT_EQ(second.out, first.out);
  const std::vector<std::string> said = absl::StrSplit(second.err, "accuracy");
  EXPECT_EQ(said.size(), 1u + 2) << second.err;
  // Measurements of something else are not mixed with these.
  std::vector<std::string> other = flags;
  other.push_back("--validation_seed=1");
  const ProgramResult refused = Measure(other);
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("resumed.csv: has measurements of another network"));
}

// What is printed is what //tools:compress then makes of the network.
TEST(SensitivityToolTest, AllocatesToAGoal) {
  const std::string output = Temporary("allocated.csv");
  std::remove(output.c_str());
  for (const std::string allocation : {"integer_program", "equal_loss"}) {
    SCOPED_TRACE(allocation);
    const ProgramResult result = Measure({"--output=" + output, "--target=macs: 0.6", "--allocation=" + allocation});
    ASSERT_EQ(result.status, 0) << result.err;
    const std::string text = result.out.substr(result.out.find("\nrate: ") + 1);
    const ProgramResult compressed =
        RunProgram("tools/compress", {"--checkpoint=" + Checkpoint(), "--output=" + Temporary("small.safetensors"),
                                      kDigits, "--latency=false",
                                      absl::StrCat("--pruning=[type.googleapis.com/prunelab.Static] { ",
                                                   absl::StrReplaceAll(text, {{"\n", " "}}), " }")});
    ASSERT_EQ(compressed.status, 0) << compressed.err;
    const Model small = *LoadModel(Temporary("small.safetensors"), at::kFloat, at::kCPU);
    EXPECT_NEAR(static_cast<double>(small.info().MacCount()) / static_cast<double>(Dense().info().MacCount()), 0.6,
                0.6 * 0.02)
        << text;
  }
}

TEST(SensitivityToolTest, BadInputIsRefusedByName) {
  const auto refusal = [](const std::vector<std::string>& flags) {
    const ProgramResult result = Measure(flags);
    EXPECT_EQ(result.status, 2) << result.out;
    return result.err;
  };
  EXPECT_THAT(refusal({}), HasSubstr("give --output"));
  EXPECT_THAT(refusal({"--target=latency: 0.5"}), HasSubstr("must be macs or parameters"));
  EXPECT_THAT(refusal({"--target=macs: 0.5", "--rates=0.5,0.3"}),
              HasSubstr("--rates: \"0.3\" must be a number above 0.5"));
  EXPECT_THAT(refusal({"--target=macs: 0.5", "--allocation=best"}), HasSubstr("--allocation=best: must be"));
  EXPECT_THAT(refusal({"--target=macs: 0.5", "--layers=nothing*"}), HasSubstr("--layers"));
  EXPECT_THAT(refusal({"--target=macs: 0.1", "--rates=0.2", "--layers=layer1*conv1"}),
              HasSubstr("is the least that can be left"));
  EXPECT_THAT(refusal({"--target=macs: 0.5", "--pruning=[type.googleapis.com/prunelab.Static] { rate: 0.5 }"}),
              AllOf(HasSubstr("--pruning"), HasSubstr("leave it out")));
  EXPECT_THAT(refusal({"--target=macs: 0.5", "--pruning=[type.googleapis.com/prunelab.NoPruning] {}"}),
              HasSubstr("has no rate"));
  EXPECT_THAT(refusal({"--target=macs: 0.5", "--pruning=[type.googleapis.com/prunelab.Unstructured] { one_shot {} }"}),
              HasSubstr("--pruning: masks single weights"));
}

}  // namespace
}  // namespace prunelab
