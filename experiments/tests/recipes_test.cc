// Runs with what a config may add to plain SGD (ml/training/recipes_test.cc), from their config to their results.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "experiments/config/identity.h"
#include "experiments/config/load.h"
#include "experiments/records/records.h"
#include "experiments/sweep/dry_run.h"
#include "experiments/tests/small_ablation.h"
#include "google/protobuf/any.pb.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/data/dataset.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/plan.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/evaluate.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Folder(const std::string& name) { return JoinPath(FreshFolder("recipes_test_" + name), "output"); }

// Prunes for two epochs and fine-tunes for two.
LoadedAblation LoadPhases(const std::string& training, const std::string& base = "") {
  const std::string phases = R"pb(
    phase { name: "prune" epochs: 2 }
    phase {
      name: "fine_tune"
      epochs: 2
      pruning {
        [type.googleapis.com/prunelab.NoPruning] {}
      }
    }
  )pb";
  return LoadText(SmallAblation("checkpoint_minutes: 1e-9",
                                "pruning { [type.googleapis.com/prunelab.Unstructured] { rate: 0.5 } }"),
                  absl::StrCat("base { training { ", training, " } ", phases, base, " }"));
}

std::vector<EpochRecord> Records(const std::string& output) {
  std::vector<EpochRecord> records;
  for (const std::string& line : WholeLines(*ReadFile(JoinPath(output, "base/1/epochs.jsonl")))) {
    records.push_back(*ParseEpochLine(line));
  }
  return records;
}

// The network that a run of one epoch leaves.
const std::string& TeacherPath() {
  static const std::string* path = [] {
    const std::string output = Folder("teacher");
    EXPECT_TRUE(RunAll(LoadText(SmallAblation("epochs: 1")), output).ok());
    return new std::string(JoinPath(output, "base/1/last.safetensors"));
  }();
  return *path;
}

std::string TeacherText(const std::string& path, const std::string& more = "") {
  return absl::StrCat("teacher { checkpoint: '", path, "' ", more, " }");
}

TEST(TeacherTest, StoppedAtAnyStepItEndsWithTheSameFiles) {
  const LoadedAblation loaded =
      LoadPhases(TeacherText(TeacherPath(), "temperature: 2"), "compression { fine_tune_epochs: 1 }");
  const std::string undisturbed = Folder("teacher_undisturbed");
  ExpectTheSameFilesStoppedAtAnyStep(loaded, undisturbed, Folder("teacher_stopped"),
                                     {"epochs.jsonl", "last.safetensors", "removed.safetensors"});
  // What the network learns is another thing than its labels.
  const std::string plain = Folder("teacher_plain");
  ASSERT_TRUE(RunAll(LoadPhases(""), plain).ok());
  EXPECT_NE(Records(undisturbed)[0].measures.train_loss(), Records(plain)[0].measures.train_loss());
}

TEST(TeacherTest, ItsContentsAreThePartOfTheRunThatItsNameIsNot) {
  const auto run_id = [](const std::string& name, const std::string& training) {
    const absl::StatusOr<AblationOutcome> outcome = RunAll(
        LoadText(SmallAblation("epochs: 1"), absl::StrCat("base { training { ", training, " } }")), Folder(name));
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? outcome->results[0].run_id : "";
  };
  const std::string copy = JoinPath(FreshFolder("recipes_test_copy"), "copy.safetensors");
  Safetensors file = *ReadSafetensors(TeacherPath());
  ASSERT_TRUE(WriteFileAtomically(copy, *ReadFile(TeacherPath())).ok());
  const std::string taught = run_id("taught", TeacherText(TeacherPath()));
  EXPECT_EQ(run_id("copied", TeacherText(copy, "temperature: 4 weight: 0.9")), taught);
  EXPECT_NE(run_id("colder", TeacherText(copy, "temperature: 1")), taught);
  EXPECT_NE(run_id("alone", ""), taught);
  file.tensors["fc.bias"] = file.tensors["fc.bias"] + 1;
  ASSERT_TRUE(WriteSafetensors(copy, file).ok());
  EXPECT_NE(run_id("changed", TeacherText(copy)), taught);
  // Where the run is, the changed teacher is another run, which is said.
  const std::string output = Folder("replaced");
  const LoadedAblation loaded =
      LoadText(SmallAblation("epochs: 1"), absl::StrCat("base { training { ", TeacherText(copy), " } }"));
  ASSERT_TRUE(RunAll(loaded, output).ok());
  ASSERT_TRUE(WriteFileAtomically(copy, *ReadFile(TeacherPath())).ok());
  EXPECT_THAT(std::string(RunAll(loaded, output).status().message()), HasSubstr("other data, initial weights or "));
}

TEST(TeacherTest, WhatIsNoTeacherIsRefusedBeforeTraining) {
  const std::string output = Folder("refused");
  const auto load = [](const std::string& path) {
    return LoadText(SmallAblation("epochs: 1"), absl::StrCat("base { training { ", TeacherText(path), " } }"));
  };
  const auto refusal = [&](const std::string& path) {
    return std::string(RunAll(load(path), output).status().message());
  };
  const std::string missing = "/no/such/teacher.safetensors";
  EXPECT_THAT(refusal(missing),
              AllOf(HasSubstr("--override:1:"), HasSubstr("arm \"base\": training.teacher.checkpoint: "
                                                          "/no/such/teacher.safetensors: no such")));
  const absl::StatusOr<std::string> dry = DryRun(load(missing), AllRuns(load(missing), output));
  ASSERT_TRUE(dry.ok()) << dry.status();
  EXPECT_THAT(*dry, AllOf(HasSubstr("Missing: "), HasSubstr("training.teacher.checkpoint: /no/such/teacher")));

  const std::string other = JoinPath(FreshFolder("recipes_test_other"), "other.safetensors");
  Safetensors file = *ReadSafetensors(TeacherPath());
  file.metadata.clear();
  ASSERT_TRUE(WriteSafetensors(other, file).ok());
  EXPECT_THAT(refusal(other), HasSubstr("other.safetensors: carries no network; a teacher needs a checkpoint"));
  file = Safetensors();
  file.metadata["network"] =
      "node { name: 'x' image { channels: 1 height: 8 width: 8 } } node { name: 'p' input: 'x' global_average_pool {} "
      "} node { name: 'f' input: 'p' flatten {} } node { name: 'fc' input: 'f' linear { out_features: 4 } }";
  file.tensors = {{"fc.weight", at::zeros({4, 1})}, {"fc.bias", at::zeros({4})}};
  ASSERT_TRUE(WriteSafetensors(other, file).ok());
  EXPECT_THAT(refusal(other), HasSubstr("arm \"base\": training.teacher.checkpoint: " + other +
                                        ": its network has 4 classes, but the network that learns has 10"));
  EXPECT_FALSE(PathExists(JoinPath(output, "base/1/result.json")));

  // A run would replace its own teacher.
  const std::string own = JoinPath(output, "base/1/last.safetensors");
  ASSERT_TRUE(CreateFolders(JoinPath(output, "base/1")).ok());
  ASSERT_TRUE(WriteFileAtomically(own, *ReadFile(TeacherPath())).ok());
  EXPECT_THAT(refusal(own), HasSubstr("is the file that base seed 1 writes"));
}

// Twelve batches an epoch are three steps, the last of two batches.
TEST(AccumulationTest, StoppedAtAnyStepItEndsWithTheSameFiles) {
  const std::string output = Folder("accumulated_undisturbed");
  ExpectTheSameFilesStoppedAtAnyStep(
      LoadPhases("accumulate_batches: 5 adamw { learning_rate: 0.01 } clip_gradient_norm: 1 label_smoothing: 0.1",
                 "phase { name: \"more\" epochs: 16 }"),
      output, Folder("accumulated_stopped"), {"epochs.jsonl", "result.json", "last.safetensors"});
  EXPECT_EQ(Records(output).size(), 20u);
  EXPECT_GT(Records(output).back().measures.test_top1(), 0.5);
}

TEST(QuantizationTest, LearnsFromATeacherByAccumulatedBatches) {
  const std::string output = Folder("quantized_undisturbed");
  ExpectTheSameFilesStoppedAtAnyStep(
      LoadPhases(
          absl::StrCat("skipping: false quantization { start_epoch: 2 range_momentum: 0.1 } accumulate_batches: 2 "
                       "adamw { learning_rate: 0.01 } ",
                       TeacherText(TeacherPath())),
          "phase { name: \"more\" epochs: 4 }"),
      output, Folder("quantized_stopped"), {"epochs.jsonl", "last.safetensors", "quantized.safetensors"});
  EXPECT_GT(Records(output).back().measures.test_top1(), 0.5);
}

TEST(WeightAverageTest, StoppedAtAnyStepItEndsWithTheSameFiles) {
  const std::string output = Folder("average_undisturbed");
  ExpectTheSameFilesStoppedAtAnyStep(
      LoadPhases("weight_average { decay: 0.9 } bn_recalibration_batches: 2", "compression { fine_tune_epochs: 1 }"),
      output, Folder("average_stopped"), {"epochs.jsonl", "last.safetensors", "removed.safetensors"});
  // What is left is the averaged network, of which the last evaluation was.
  const std::string path = JoinPath(output, "base/1/last.safetensors");
  absl::StatusOr<Model> last = LoadModel(path, at::kFloat, at::kCPU);
  ASSERT_TRUE(last.ok()) << last.status();
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/prunelab.Digits");
  const Dataset digits = *OpenDataset(any);
  ReferencePlan plan;
  const Evaluation evaluation = *Evaluate(*last, plan, digits.test, digits.normalization, 500);
  EXPECT_NEAR(evaluation.loss, Records(output).back().measures.test_loss(), 1e-5);
  const Safetensors state = *ReadSafetensors(JoinPath(output, "base/1/state.safetensors"));
  EXPECT_FALSE(at::equal(state.tensors.at("fc.weight"), last->Get("fc.weight"))) << "training has the steps' weights";
  EXPECT_TRUE(at::equal(state.tensors.at("average/fc.weight"), last->Get("fc.weight")));
  double masked = 0;
  for (const auto& [node, mask] : last->masks()) {
    const at::Tensor weight = last->Get(absl::StrCat(node, ".weight")).detach();
    EXPECT_EQ((weight * (1 - mask)).abs().max().item<double>(), 0) << node;
    masked += (1 - mask).sum().item<double>();
  }
  EXPECT_GT(masked, 0);
}

}  // namespace
}  // namespace prunelab
