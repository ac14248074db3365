// A small ablation from its config to its results: what its users rely on.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "experiments/config/selection.h"
#include "experiments/reporting/report.h"
#include "experiments/reporting/report_records.h"
#include "experiments/sweep/dry_run.h"
#include "experiments/tests/small_ablation.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/base/textproto.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"
#include "ml/kernels/instruction_set.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kAblation[] = R"pb(
  name: "tiny"
  base {
    network {
      [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 8 }
    }
    dataset {
      [type.googleapis.com/prunelab.Digits] {}
    }
    training {
      epochs: 3
      batch_size: 64
      sgd { learning_rate: 0.1 momentum: 0.9 weight_decay: 1e-4 }
    }
  }
  factor {
    name: "pruning"
    level { name: "none" }
    level {
      name: "dynamic_l1"
      patch {
        pruning {
          [type.googleapis.com/prunelab.DynamicL1] { rate: 0.6 }
        }
      }
    }
    level {
      name: "static"
      patch {
        pruning {
          [type.googleapis.com/prunelab.Static] { rate: 0.6 epoch: 1 }
        }
      }
    }
    level {
      name: "unstructured"
      patch {
        pruning {
          [type.googleapis.com/prunelab.Unstructured] { rate: 0.6 }
        }
      }
    }
  }
  factor {
    name: "regularizer"
    level { name: "none" }
    level {
      name: "paper_zero"
      patch {
        regularization {
          weight: 0.7
          regularizer {
            [type.googleapis.com/prunelab.PaperZero] {}
          }
        }
      }
    }
    level {
      name: "cov"
      patch {
        regularization {
          weight: 0.7
          regularizer {
            [type.googleapis.com/prunelab.Cov] {}
          }
        }
      }
    }
  }
  exclude: "static/paper_zero,unstructured/paper_zero"
  seeds { first: 1 count: 2 }
)pb";

// A path where nothing exists.
std::string Folder(const std::string& name) { return JoinPath(FreshFolder("ablation_test_" + name), "output"); }

LoadedAblation Load(const std::string& override_text = "") { return LoadText(kAblation, override_text); }

std::string Read(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  EXPECT_TRUE(text.ok()) << text.status();
  return *std::move(text);
}

// The tests that only look at results share one ablation.
class AblationTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    output_ = Folder("shared");
    const absl::StatusOr<AblationOutcome> outcome = RunAll(Load(), output_);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    for (const RunResult& result : outcome->results) results_[{result.arm, result.seed}] = result;
  }
  static std::string output_;
  static std::map<std::pair<std::string, int64_t>, RunResult> results_;
};
std::string AblationTest::output_;
std::map<std::pair<std::string, int64_t>, RunResult> AblationTest::results_;

TEST_F(AblationTest, EveryRunIsDoneAndLearns) {
  EXPECT_EQ(results_.size(), 20u);  // 12 arms minus 2, two seeds
  for (const auto& [key, result] : results_) EXPECT_EQ(result.status, "done") << key.first;
  // Chance is 10 %; bounds that hold on any CPU.
  for (const int64_t seed : {1, 2}) EXPECT_GT(results_.at({"none/none", seed}).measures.test_top1(), 0.6);
}

TEST_F(AblationTest, ASecondAblationIsBitIdentical) {
  const std::string again = Folder("again");
  ASSERT_TRUE(RunAll(Load("exclude: '*none/*,*static/*,*/paper_zero'"), again).ok());
  for (const char* run : {"dynamic_l1/none/1", "dynamic_l1/cov/2", "unstructured/cov/1"}) {
    for (const char* file : {"epochs.jsonl", "result.json", "last.safetensors", "config.textproto"}) {
      EXPECT_EQ(Read(absl::StrCat(output_, "/", run, "/", file)), Read(absl::StrCat(again, "/", run, "/", file)))
          << run << " " << file;
    }
  }
}

TEST_F(AblationTest, PaperZeroIsBitIdenticalToNone) {
  for (const char* pruning : {"none", "dynamic_l1"}) {
    const auto file = [&](const char* regularizer, const char* name) {
      return Read(absl::StrCat(output_, "/", pruning, "/", regularizer, "/1/", name));
    };
    EXPECT_EQ(file("paper_zero", "epochs.jsonl"), file("none", "epochs.jsonl"));
    EXPECT_EQ(file("paper_zero", "last.safetensors"), file("none", "last.safetensors"));
    EXPECT_NE(file("paper_zero", "result.json"), file("none", "result.json"));  // another arm and identity
  }
}

TEST_F(AblationTest, MasksAreReal) {
  const int64_t filters = 8 + 2 * 8 + 3 * 16 + 3 * 32;  // of ResNet-8 with width 8, shortcuts included
  for (const int64_t seed : {1, 2}) {
    for (const char* pruning : {"dynamic_l1", "static", "unstructured"}) {
      for (const char* regularizer : {"none", "cov"}) {
        const RunResult& result = results_.at({absl::StrCat(pruning, "/", regularizer), seed});
        if (std::string(pruning) == "unstructured") {
          EXPECT_NEAR(result.measures.weight_sparsity(), 0.6, 1e-4);
        } else {
          // threshold = sorted[int(n * rate)], strictly above lives: int(n * rate) + 1 are masked.
          EXPECT_NEAR(result.measures.filter_sparsity() * filters, std::floor(filters * 0.6) + 1, 0.5) << result.arm;
          EXPECT_LT(result.measures.live_parameters(), result.measures.parameters());
        }
      }
    }
    EXPECT_GT(results_.at({"dynamic_l1/none", seed}).measures.returned_filters(), 0);
    EXPECT_EQ(results_.at({"static/none", seed}).measures.returned_filters(), 0);
    // The masks in the file are those that were counted.
    const absl::StatusOr<Safetensors> file =
        ReadSafetensors(absl::StrCat(output_, "/static/none/", seed, "/last.safetensors"));
    ASSERT_TRUE(file.ok()) << file.status();
    double dead = 0;
    for (const auto& [name, tensor] : file->tensors) {
      if (absl::EndsWith(name, ".mask")) {
        dead +=
            static_cast<double>(tensor.size(0)) - tensor.select(1, 0).select(1, 0).select(1, 0).sum().item<double>();
      }
    }
    EXPECT_EQ(dead, std::floor(filters * 0.6) + 1);
  }
}

TEST_F(AblationTest, CovLowersCorrelationAtEverySeed) {
  for (const int64_t seed : {1, 2}) {
    for (const char* pruning : {"none", "dynamic_l1", "static", "unstructured"}) {
      EXPECT_LT(results_.at({absl::StrCat(pruning, "/cov"), seed}).measures.mean_abs_rho(),
                results_.at({absl::StrCat(pruning, "/none"), seed}).measures.mean_abs_rho())
          << pruning << " seed " << seed;
    }
  }
}

TEST_F(AblationTest, RecordsAreCompleteAndChecked) {
  const std::string text = Read(absl::StrCat(output_, "/dynamic_l1/cov/1/epochs.jsonl"));
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  for (const std::string& line : lines) {
    EXPECT_TRUE(ChecksumHolds(line));
    for (const char* key :
         {"epoch", "learning_rate", "train_loss", "train_top1", "test_loss", "test_top1", "test_top5", "penalty",
          "penalty_gradient_ratio", "mean_abs_rho", "mask_changes", "returned_filters", "live_filters"}) {
      EXPECT_THAT(line, HasSubstr(absl::StrCat("\"", key, "\":")));
    }
  }
  std::string harmed = lines[0];
  harmed[10] ^= 1;
  EXPECT_FALSE(ChecksumHolds(harmed));
  const std::string csv = Read(absl::StrCat(output_, "/results.csv"));
  EXPECT_THAT(
      csv, testing::StartsWith("arm,seed,status,epochs,test_top1,test_top5,test_loss,validation_top1,test_top1_best,"));
  const std::vector<std::string> rows = absl::StrSplit(csv, '\n', absl::SkipEmpty());
  EXPECT_EQ(rows.size(), 21u);
}

TEST_F(AblationTest, AFinishedRunIsNotDoneAgainAndMoreSeedsMayFollow) {
  absl::StatusOr<AblationOutcome> outcome = RunAll(Load(), output_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->trained, 0);
  EXPECT_EQ(outcome->results.size(), 20u);
  EXPECT_EQ(outcome->results[0].measures.test_top1(), results_.at({outcome->results[0].arm, 1}).measures.test_top1());
}

TEST_F(AblationTest, RecordsSayByWhichPlanARunWasTrainedAndItIsTheSameRun) {
  const auto provenance = [](const std::string& output, const RunResult& result) {
    return Read(JoinPath(output, absl::StrCat(result.arm, "/", result.seed, "/provenance.json")));
  };
  const absl::StatusOr<AblationOutcome> same = RunAll(Load("base { training { skipping: false } }"), output_);
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(same->trained, 0);
  EXPECT_THAT(provenance(output_, same->results[0]), HasSubstr("\"plan\": \"skipping\""));
  EXPECT_THAT(provenance(output_, same->results[0]), HasSubstr("\"precision\": \"float32\""));
  const std::string other = Folder("reference");
  const absl::StatusOr<AblationOutcome> reference = RunAll(
      Load("base { training { skipping: false } } seeds { count: 1 } exclude: \"*/none,*/paper_zero,none/*,un*\""),
      other);
  ASSERT_TRUE(reference.ok()) << reference.status();
  ASSERT_GT(reference->trained, 0);
  EXPECT_EQ(reference->results[0].run_id, results_.at({reference->results[0].arm, 1}).run_id);
  EXPECT_THAT(provenance(other, reference->results[0]), HasSubstr("\"plan\": \"reference\""));
}

TEST_F(AblationTest, AChangedArmIsRefusedWithTheDifference) {
  const absl::StatusOr<AblationOutcome> outcome = RunAll(Load("base { training { sgd { momentum: 0.5 } } }"), output_);
  ASSERT_FALSE(outcome.ok());
  EXPECT_THAT(std::string(outcome.status().message()), HasSubstr("- training.sgd.momentum: 0.9"));
  EXPECT_THAT(std::string(outcome.status().message()), HasSubstr("+ training.sgd.momentum: 0.5"));
}

TEST(PrecisionTest, IsRefusedWhereItWouldBeEmulatedAndStandsInTheRecords) {
  const bool has = HasBfloat16();
  const LoadedAblation loaded = Load(R"pb(
    base { training { epochs: 1 precision: BFLOAT16 } }
    seeds { count: 1 }
    include: "dynamic_l1/cov"
    exclude: "none/none"
  )pb");
  const std::string output = Folder("precision");
  SetHasBfloat16(false);
  const absl::Status refused = RunAll(loaded, output).status();
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("arm \"dynamic_l1/cov\": training.precision: is BFLOAT16, but this machine's CPU has neither"));
  EXPECT_FALSE(PathExists(output));
  SetHasBfloat16(true);
  const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->trained, 1);
  const std::string provenance = Read(JoinPath(output, "dynamic_l1/cov/1/provenance.json"));
  EXPECT_THAT(provenance, HasSubstr("\"plan\": \"reference\""));
  EXPECT_THAT(provenance, HasSubstr("\"precision\": \"bfloat16\""));
  // Finished runs may be looked at on any machine.
  SetHasBfloat16(false);
  const absl::StatusOr<AblationOutcome> again = RunAll(loaded, output);
  SetHasBfloat16(has);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->trained, 0);
}

TEST(DivergedRunTest, ALostLossEndsTheRunAndTheOthersGoOn) {
  const LoadedAblation loaded = Load(R"pb(
    seeds { count: 1 }
    factor {
      name: "lr"
      level {
        name: "huge"
        patch { training { sgd { learning_rate: 1e30 } } }
      }
      level { name: "sane" }
      level { name: "unused" }
    }
    exclude: "unused"
  )pb");
  const std::string output = Folder("diverged");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->failed, 0);
  ASSERT_EQ(outcome->results.size(), 2u);
  EXPECT_EQ(outcome->results[0].status, "diverged");
  EXPECT_FALSE(outcome->results[0].measures.has_test_top1());
  EXPECT_THAT(outcome->results[0].message, HasSubstr("is not finite"));
  EXPECT_EQ(outcome->results[1].status, "done");
}

// Training losses stay finite, but the weights after the last step, and the logits for the test data, do not.
TEST(DivergedRunTest, WhatIsLostInTheVeryLastStepIsNoResult) {
  LoadedAblation loaded = Load(R"pb(
    base { training { epochs: 1 batch_size: 1438 } }
    seeds { count: 6 }
    factor {
      name: "lr"
      level {
        name: "low"
        patch { training { sgd { learning_rate: 0.01 } } }
      }
      level {
        name: "lost"
        patch { training { sgd { learning_rate: 1e39 } } }
      }
      level { name: "unused" }
    }
    exclude: "unused"
    comparison { treatment: "lost" control: "low" metric: TEST_LOSS }
    comparison { treatment: "lost" control: "low" metric: TEST_TOP1 }
  )pb");
  const std::string output = Folder("last_step");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_EQ(outcome->results.size(), 12u);
  for (const RunResult& result : outcome->results) {
    const bool lost = result.arm == "lost";
    EXPECT_EQ(result.status, lost ? "diverged" : "done");
    EXPECT_EQ(result.measures.has_test_top1(), !lost);
    EXPECT_EQ(result.measures.has_test_loss(), !lost);
    EXPECT_EQ(result.message.empty(), !lost);
    if (!lost) continue;
    EXPECT_THAT(result.message, HasSubstr("in epoch 0: "));
    EXPECT_THAT(result.message, HasSubstr("are not finite after the last step"));
    const std::string line = Read(absl::StrCat(output, "/lost/", result.seed, "/epochs.jsonl"));
    EXPECT_THAT(line, HasSubstr("\"test_loss\":null"));
    EXPECT_THAT(line, HasSubstr("\"test_top1\":null"));
    EXPECT_THAT(line, HasSubstr("\"diverged\":true"));
  }
  // The report has each pair, counts a diverged run as chance, and says so.
  ASSERT_TRUE(WriteReport({output}, output).ok());
  const std::string comparisons = Read(absl::StrCat(output, "/comparisons.json"));
  EXPECT_THAT(comparisons, HasSubstr("\"diverged\": 6"));
  EXPECT_THAT(Read(absl::StrCat(output, "/summary.md")), HasSubstr("6 runs of its arms diverged and count as chance"));
}

// A batch norm of one pixel and a last batch of one image.
TEST(LastBatchTest, OneValueAChannelIsRefusedBeforeAnythingIsTrained) {
  const std::string path = absl::StrCat(testing::TempDir(), "/last_batch.textproto");
  const auto text = [](const std::string& training) {
    return absl::StrCat(R"(name: "t" base { network { [type.googleapis.com/prunelab.Vgg] { depth: 11 width: 4 } }
      dataset { [type.googleapis.com/prunelab.Synthetic] { image_size: 16 classes: 3 train_images: 33 test_images: 20 } }
      training { epochs: 1 )",
                        training, " } } seeds { count: 1 }");
  };
  ASSERT_TRUE(WriteFileAtomically(path, text("batch_size: 32")).ok());
  const absl::Status refused = LoadAblation(path, "").status();
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr(":3:28: training.batch_size: is 32, which leaves a single one of 33 training images"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("use a batch_size of 31 or 33, or larger images"));
  // With validation data this is known only once the labels are read: one of the 11 images of each class is set aside.
  for (const bool dry_run : {false, true}) {
    ASSERT_TRUE(WriteFileAtomically(path, text("batch_size: 29 validation_fraction: 0.1")).ok());
    const absl::StatusOr<LoadedAblation> loaded = LoadAblation(path, "");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const RunnerOptions options = AllRuns(*loaded, Folder("last_batch"));
    const absl::Status status = dry_run ? DryRun(*loaded, options).status() : RunAblation(*loaded, options).status();
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(":3:28: arm \"base\": training.batch_size: is 29, which leaves a "
                          "single one of 30 training images beside the validation data"));
    EXPECT_FALSE(PathExists(options.output));
  }
}

// A dense control as a level of the rate computes the same as a run without pruning, bit for bit.
TEST_F(AblationTest, ARateOfZeroIsBitIdenticalToNone) {
  const LoadedAblation loaded = Load(R"pb(
    seeds { count: 1 }
    factor {
      name: "zero"
      level {
        name: "static"
        patch {
          pruning {
            [type.googleapis.com/prunelab.Static] { rate: 0 epoch: 1 }
          }
        }
      }
      level {
        name: "dynamic_l1"
        patch {
          pruning {
            [type.googleapis.com/prunelab.DynamicL1] { rate: 0 granularity: WEIGHT }
          }
        }
      }
      level { name: "unused" }
    }
    exclude: "unused"
  )pb");
  const std::string output = Folder("zero");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  const absl::StatusOr<Safetensors> dense = ReadSafetensors(output_ + "/none/none/1/last.safetensors");
  ASSERT_TRUE(dense.ok()) << dense.status();
  for (const RunResult& result : outcome->results) {
    EXPECT_EQ(result.status, "done");
    EXPECT_EQ(result.measures.weight_sparsity(), 0);
    EXPECT_EQ(result.measures.test_loss(), results_.at({"none/none", 1}).measures.test_loss()) << result.arm;
    const absl::StatusOr<Safetensors> zero =
        ReadSafetensors(absl::StrCat(output, "/", result.arm, "/1/last.safetensors"));
    ASSERT_TRUE(zero.ok()) << zero.status();
    for (const auto& [name, tensor] : dense->tensors) {
      EXPECT_TRUE(at::equal(tensor, zero->tensors.at(name))) << result.arm << ": " << name;
    }
  }
}

TEST(MaskedNothingTest, AStrategyThatStartsBeyondTheRunIsSaid) {
  const LoadedAblation loaded = Load(R"pb(
    seeds { count: 1 }
    base { training { epochs: 2 } }
    factor {
      name: "start"
      level {
        name: "in_time"
        patch {
          pruning {
            [type.googleapis.com/prunelab.Static] { rate: 0.6 epoch: 1 }
          }
        }
      }
      level {
        name: "too_late"
        patch {
          pruning {
            [type.googleapis.com/prunelab.Static] { rate: 0.6 epoch: 30 }
          }
        }
      }
      level {
        name: "of_nothing"
        patch {
          pruning {
            [type.googleapis.com/prunelab.Static] { rate: 0 epoch: 1 }
          }
        }
      }
      level { name: "unused" }
    }
    exclude: "unused"
  )pb");
  testing::internal::CaptureStderr();
  const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, Folder("masked_nothing"));
  const std::string said = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_EQ(outcome->results.size(), 3u);
  EXPECT_GT(outcome->results[0].measures.weight_sparsity(), 0);
  EXPECT_EQ(outcome->results[1].measures.weight_sparsity(), 0);
  EXPECT_EQ(outcome->results[2].measures.weight_sparsity(), 0);  // as its rate asks for
  EXPECT_EQ(said.find("masked nothing"), said.rfind("masked nothing")) << said;
  EXPECT_THAT(said, HasSubstr("prunelab.Static masked nothing in this run's 2 epochs"));
}

// ---------------------------------------------------------------------------------------------------------------------
// A network from scratch in the shape of another run's

// Pictures of noise, different for each seed.
void WritePictures(const std::string& path, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  Safetensors file;
  const auto images = [&](int64_t n) { return at::randint(0, 256, {n, 1, 8, 8}, generator, at::kLong).to(at::kByte); };
  file.tensors["train_images"] = images(60);
  file.tensors["train_labels"] = at::arange(60, at::kLong) % 4;
  file.tensors["test_images"] = images(20);
  file.tensors["test_labels"] = at::arange(20, at::kLong) % 4;
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
}

TEST(FromScratchTest, AShapeThatOtherDataGaveIsRefused) {
  const std::string folder = Folder("from_scratch"), data = JoinPath(testing::TempDir(), "pictures.safetensors");
  const std::string path = JoinPath(testing::TempDir(), "from_scratch.textproto");
  const std::string text = absl::StrCat(
      R"(name: "from_scratch"
base {
  network { [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 8 } }
  training { epochs: 1 batch_size: 20 sgd { learning_rate: 0.01 } }
  dataset { [type.googleapis.com/prunelab.SafetensorsDataset] { path: ")",
      data, R"(" } }
}
factor {
  name: "how"
  level { name: "source" patch { pruning { [type.googleapis.com/prunelab.Static] { rate: 0.3 epoch: 0 } } } }
  level { name: "scratch" patch { from_scratch { arm: "source" } } }
}
seeds { count: 1 }
)");
  ASSERT_TRUE(WriteFileAtomically(path, text).ok());
  const auto run = [&](const std::string& arm) {
    const absl::StatusOr<LoadedAblation> loaded = LoadAblation(path, "");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    RunnerOptions options = AllRuns(*loaded, folder);
    options.arms = *SelectArms(loaded->arms, arm);
    return RunAblation(*loaded, options);
  };
  WritePictures(data, 1);
  ASSERT_TRUE(run("source").ok());
  WritePictures(data, 2);
  const absl::StatusOr<AblationOutcome> refused = run("scratch");
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(std::string(refused.status().message()),
              testing::AllOf(testing::StartsWith("arm \"scratch\" takes its shape from source seed 1: "),
                             HasSubstr("source/1/result.json: its run was made with other data")));
  EXPECT_FALSE(PathExists(JoinPath(folder, "scratch")));
  WritePictures(data, 1);
  const absl::StatusOr<AblationOutcome> outcome = run("scratch");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->results[0].status, "done");
}

// ---------------------------------------------------------------------------------------------------------------------
// Results that stay

TEST(KeepResultTest, AFinishedResultGivesWayToNothing) {
  const std::string folder = FreshFolder("ablation_test_keep_result");
  RunResult result = MissingResult("a", 1);
  result.status = "failed";
  result.run_id = "id";
  EXPECT_EQ(KeepResult(folder, result)->status, "failed");
  EXPECT_EQ(KeepResult(folder, result)->status, "failed");
  RunResult done = result;
  done.status = "done";
  done.measures.set_test_top1(0.5);
  EXPECT_EQ(KeepResult(folder, done)->status, "done");  // in place of a failure
  const std::string text = Read(JoinPath(folder, "result.json"));
  EXPECT_EQ(KeepResult(folder, done)->status, "done");
  EXPECT_EQ(KeepResult(folder, result)->measures.test_top1(), 0.5);  // the failure gives way
  RunResult other = done;
  other.measures.set_test_top1(0.6);
  EXPECT_TRUE(absl::IsAlreadyExists(KeepResult(folder, other).status()));
  other = result;
  other.run_id = "another";
  const absl::Status refused = KeepResult(folder, other).status();
  EXPECT_TRUE(absl::IsAlreadyExists(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("result.json: holds a finished result, of another run"));
  EXPECT_EQ(Read(JoinPath(folder, "result.json")), text);
}

// ---------------------------------------------------------------------------------------------------------------------
// Reports on folders of this ablation, whose plugins are linked here

void WriteRun(const std::string& output, const Arm& arm, int64_t seed, const std::string& status = "done") {
  RunResult result = MissingResult(arm.name, seed);
  result.status = status;
  result.measures.set_test_top1(0.5 + 0.01 * static_cast<double>(seed % 10));
  result.run_id = absl::StrCat(arm.name, seed);
  const std::string folder = JoinPath(output, absl::StrCat(arm.name, "/", seed));
  ASSERT_TRUE(CreateFolders(folder).ok());
  ASSERT_TRUE(WriteFileAtomically(JoinPath(folder, "result.json"), ResultJson(result)).ok());
  ASSERT_TRUE(WriteFileAtomically(JoinPath(folder, "config.textproto"), ResolvedText(arm.config)).ok());
}

std::string WrittenAblation(const std::string& name, const LoadedAblation& loaded) {
  const std::string output = FreshFolder("ablation_test_" + name);
  EXPECT_TRUE(WriteFileAtomically(JoinPath(output, "ablation.textproto"), PrettyText(loaded.ablation)).ok());
  return output;
}

std::map<std::string, std::string> Statuses(const ReportRecords& records) {
  std::map<std::string, std::string> statuses;
  for (const RunRecords& run : records.runs)
    statuses[absl::StrCat(run.result.arm, "/", run.result.seed)] = run.result.status;
  return statuses;
}

TEST(ReportTest, ArmsOfAnOlderConfigAreNotComparedWithThoseOfThisOne) {
  const LoadedAblation now = Load("base { training { batch_size: 64 } }");
  const LoadedAblation before = Load("base { training { batch_size: 512 } }");
  const std::string output = WrittenAblation("older_config", now);
  for (const int64_t seed : {1, 2}) {
    WriteRun(output, before.arms[0], seed);  // none/none
    WriteRun(output, now.arms[3], seed);     // dynamic_l1/none
  }
  const ReportRecords records = ReadResults({output}).value();
  EXPECT_THAT(records.notes,
              Contains("Left out: none/none seed 1, none/none seed 2: another config than ablation.textproto "
                       "gives the arm, - training.batch_size: 64; + training.batch_size: 512."));
  std::map<std::string, std::string> statuses = Statuses(records);
  EXPECT_EQ(statuses["none/none/1"], "missing");
  EXPECT_EQ(statuses["dynamic_l1/none/1"], "done");
}

TEST(ReportTest, ARunThatFailedBeforeItsConfigLeavesTheOthersIn) {
  const LoadedAblation loaded = Load();
  const std::string output = WrittenAblation("failed_first", loaded);
  for (const int64_t seed : {1, 2}) WriteRun(output, loaded.arms[0], seed, seed == 1 ? "failed" : "done");
  ASSERT_EQ(unlink(JoinPath(output, "none/none/1/config.textproto").c_str()), 0);
  const ReportRecords records = ReadResults({output}).value();
  EXPECT_THAT(records.notes, Not(Contains(HasSubstr("eft out"))));
  std::map<std::string, std::string> statuses = Statuses(records);
  EXPECT_EQ(statuses["none/none/1"], "failed");
  EXPECT_EQ(statuses["none/none/2"], "done");
}

TEST(ReportTest, WhatAnArmMasksIsWhatItsPhasesMask) {
  const auto masks_of = [](const std::string& name, const std::string& base) {
    const LoadedAblation loaded = Load(absl::StrCat("base { ", base, " }"));
    const std::string output = WrittenAblation("masks_" + name, loaded);
    WriteRun(output, loaded.arms[0], 1);
    const ReportRecords records = ReadResults({output}).value();
    EXPECT_EQ(records.arms[0].name, "none/none");
    return records.arms[0].masks;
  };
  const auto phases = [](const std::vector<std::string>& strategies) {
    std::string text = "training { epochs: 3 }";
    for (size_t i = 0; i < 3; ++i) {
      absl::StrAppend(&text, " phase { name: '", i, "' epochs: 1 ",
                      i < strategies.size()
                          ? absl::StrCat("pruning { [type.googleapis.com/prunelab.", strategies[i], "] {} }")
                          : "",
                      " }");
    }
    return text;
  };
  EXPECT_EQ(masks_of("nothing", phases({})), MaskKind::kNone);
  EXPECT_EQ(masks_of("filters", phases({"NoPruning", "Static"})), MaskKind::kFilters);
  EXPECT_EQ(masks_of("weights", phases({"NoPruning", "Unstructured", "NoPruning"})), MaskKind::kWeights);
  EXPECT_EQ(masks_of("both", phases({"Unstructured", "Static", "NoPruning"})), MaskKind::kBoth);
  EXPECT_EQ(masks_of("by_the_run", "pruning { [type.googleapis.com/prunelab.Lamp] {} } " + phases({"NoPruning"})),
            MaskKind::kWeights);
}

// Ablations that start from weights: one arm, one seed, and a learning rate so small that the weights do not change in
// float32.
class InitialWeightsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    output_ = Folder("trained");
    const absl::StatusOr<AblationOutcome> outcome =
        RunAll(Load("include: 'none/none' seeds { first: 2 count: 1 } base { training { epochs: 1 } }"), output_);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
  }
  static std::string Write(const std::string& name, const Safetensors& file) {
    const std::string path = absl::StrCat(testing::TempDir(), "/", name, ".safetensors");
    EXPECT_TRUE(WriteSafetensors(path, file).ok());
    return path;
  }
  // The trained weights of another run, without metadata, like a file from elsewhere.
  static Safetensors Trained() {
    Safetensors file = *ReadSafetensors(JoinPath(output_, "none/none/2/last.safetensors"));
    file.metadata.clear();
    return file;
  }
  static LoadedAblation LoadStart(const std::string& base) {
    return Load(
        absl::StrCat("include: 'none/none' seeds { count: 1 } base { training { epochs: 1 sgd { learning_rate: "
                     "1e-30 momentum: 0 weight_decay: 0 } } ",
                     base, " }"));
  }
  static std::string Error(const std::string& base) {
    const LoadedAblation loaded = LoadStart(base);
    const std::string output = Folder("refused");
    const absl::Status status = RunAll(loaded, output).status();
    EXPECT_FALSE(PathExists(output));
    EXPECT_EQ(DryRun(loaded, AllRuns(loaded, output)).status().message(),
              status.message());  // found before anything is trained
    return std::string(status.message());
  }
  static Safetensors Last(const std::string& name, const std::string& base, std::string* run_id = nullptr) {
    const std::string output = Folder(name);
    const absl::StatusOr<AblationOutcome> outcome = RunAll(LoadStart(base), output);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    if (run_id != nullptr && outcome.ok()) *run_id = outcome->results[0].run_id;
    return *ReadSafetensors(JoinPath(output, "none/none/1/last.safetensors"));
  }
  static std::string output_;
};
std::string InitialWeightsTest::output_;

TEST_F(InitialWeightsTest, AnotherHeadIsLeftFresh) {
  Safetensors file = Trained();
  file.tensors["fc.weight"] = at::zeros({1000, 32});
  file.tensors["fc.bias"] = at::zeros({1000});
  const std::string path = Write("thousand_classes", file);
  const std::string given = absl::StrCat("initial_weights: '", path, "'");
  EXPECT_THAT(Error(given), AllOf(HasSubstr("--override:1:"), HasSubstr("arm \"none/none\": initial_weights: "),
                                  HasSubstr("fc.weight is [1000, 32]; the network needs [10, 32]"),
                                  HasSubstr("fresh_weights: \"fc.*\"")));
  const Safetensors fresh = Last("fresh", "");
  const Safetensors last = Last("other_head", given + " fresh_weights: 'fc.*'");
  for (const char* name : {"fc.weight", "fc.bias"}) {
    EXPECT_TRUE(at::equal(last.tensors.at(name), fresh.tensors.at(name))) << name;  // of the same seed
  }
  int compared = 0;
  for (const auto& [name, tensor] : file.tensors) {
    if (absl::StartsWith(name, "fc.") || absl::StrContains(name, "running_") || absl::EndsWith(name, "_tracked"))
      continue;
    EXPECT_TRUE(at::equal(last.tensors.at(name), tensor)) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 9 * 3);  // convolutions and what BatchNorm learns after them
  EXPECT_THAT(Error(given + " fresh_weights: ['fc.*', 'head.*']"),
              HasSubstr("fresh_weights: \"head.*\" matches no tensor of the network or of the file"));
}

TEST_F(InitialWeightsTest, HowWeightsAreTakenIsPartOfTheRun) {
  const Safetensors file = Trained();
  Safetensors prefixed;
  for (const auto& [name, tensor] : file.tensors) prefixed.tensors["module." + name] = tensor;
  const std::string plain = absl::StrCat("initial_weights: '", Write("plain", file), "'");
  const std::string module = absl::StrCat("initial_weights: '", Write("module", prefixed), "'");
  EXPECT_THAT(Error(module), HasSubstr("56 of its 56 names begin with \"module.\", as DataParallel makes them; take it "
                                       "off by initial_weights_prefix: \"module.\", or save"));
  std::string plain_id, module_id, fresh_id;
  const Safetensors last = Last("plain", plain, &plain_id);
  const Safetensors same = Last("module", module + " initial_weights_prefix: 'module.'", &module_id);
  Last("fresh_bias", plain + " fresh_weights: 'fc.bias'", &fresh_id);
  for (const auto& [name, tensor] : last.tensors) EXPECT_TRUE(at::equal(same.tensors.at(name), tensor)) << name;
  EXPECT_NE(plain_id, module_id);
  EXPECT_NE(plain_id, fresh_id);
}

TEST_F(InitialWeightsTest, BrokenWeightsAreRefusedBeforeTraining) {
  Safetensors file = Trained();
  file.tensors["bn1.running_var"][3] = -0.5;
  EXPECT_THAT(Error(absl::StrCat("initial_weights: '", Write("negative", file), "'")),
              HasSubstr("bn1.running_var[3] is -0.5; must be at least 0"));
  file = Trained();
  file.tensors["conv1.weight"] = file.tensors["conv1.weight"].to(at::kChar);
  EXPECT_THAT(Error(absl::StrCat("initial_weights: '", Write("int8", file), "'")),
              HasSubstr("conv1.weight is int8; must be a floating type"));
}

// The checkpoint of a stopped run provides weights and masks, for the tools and for another run to start from.
TEST_F(InitialWeightsTest, TheCheckpointOfARunUnderWay) {
  const LoadedAblation loaded = Load("include: 'dynamic_l1/none' seeds { count: 1 }");
  RunnerOptions options = AllRuns(loaded, Folder("stopped"));
  int asked = 0;
  options.stop = [&] { return ++asked > 30; };
  const absl::StatusOr<AblationOutcome> outcome = RunAblation(loaded, options);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_TRUE(outcome->stopped);
  const std::string path = JoinPath(options.output, "dynamic_l1/none/1/checkpoint.safetensors");
  const absl::StatusOr<Model> model = LoadModel(path, at::kFloat, at::kCPU);
  ASSERT_TRUE(model.ok()) << model.status();
  const Safetensors state = *ReadSafetensors(path);
  EXPECT_TRUE(at::equal(model->Get("conv1.weight"), state.tensors.at("conv1.weight")));
  ASSERT_EQ(model->masks().size(), 9u);
  for (const auto& [node, mask] : model->masks()) {
    EXPECT_TRUE(at::equal(mask, state.tensors.at(absl::StrCat("mask/", node)))) << node;
  }
  const Safetensors last = Last("from_checkpoint", absl::StrCat("initial_weights: '", path, "'"));
  EXPECT_TRUE(at::equal(last.tensors.at("conv1.weight"), state.tensors.at("conv1.weight")));
}

}  // namespace
}  // namespace prunelab
