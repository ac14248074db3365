// Runs that learn to be quantized, from their config to their results.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "experiments/config/load.h"
#include "experiments/records/records.h"
#include "experiments/tests/small_ablation.h"
#include "google/protobuf/any.pb.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/data/dataset.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/plan.h"
#include "ml/network/value_grids.h"
#include "ml/training/evaluate.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

// Prunes for two epochs, and quantizes what is left for two.
constexpr char kPruneAndQuantize[] = R"pb(
  base {
    training {
      skipping: false
      quantization { start_epoch: 2 range_momentum: 0.1 }
    }
    phase { name: "prune" epochs: 2 }
    phase {
      name: "quantize"
      epochs: 2
      sgd { learning_rate: 0.01 }
      pruning {
        [type.googleapis.com/prunelab.NoPruning] {}
      }
    }
  }
)pb";

LoadedAblation Load(const std::string& override_text) {
  return LoadText(SmallAblation("checkpoint_minutes: 1e-9",
                                "pruning { [type.googleapis.com/prunelab.Unstructured] { rate: 0.5 } }"),
                  override_text);
}

std::string Folder(const std::string& name) { return JoinPath(FreshFolder("quantization_test_" + name), "output"); }

std::vector<EpochRecord> Records(const std::string& output) {
  std::vector<EpochRecord> records;
  for (const std::string& line : WholeLines(*ReadFile(JoinPath(output, "base/1/epochs.jsonl")))) {
    records.push_back(*ParseEpochLine(line));
  }
  return records;
}

TEST(QuantizationTest, EvaluationsAreThoseOfTheQuantizedNetworkFromItsStartOn) {
  const std::string output = Folder("whole");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(Load(kPruneAndQuantize), output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  const RunResult& result = outcome->results[0];
  ASSERT_EQ(result.status, "done") << result.message;
  const std::string path = JoinPath(output, "base/1/quantized.safetensors");
  EXPECT_EQ(result.measures.quantized_bytes(), static_cast<int64_t>(ReadFile(path)->size()));
  absl::StatusOr<Model> quantized = LoadModel(path, at::kFloat, at::kCPU);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  EXPECT_TRUE(IsQuantized(quantized->info().network()));
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/prunelab.Digits");
  const Dataset digits = *OpenDataset(any);
  ReferencePlan plan;
  const Evaluation evaluation = *Evaluate(*quantized, plan, digits.test, digits.normalization, 500);
  EXPECT_NEAR(evaluation.top1, result.measures.test_top1(), 1.5 / 359);
  EXPECT_NEAR(evaluation.loss, result.measures.test_loss(), 1e-3);
  // Weights that were masked are still zero, and the float network is left, too.
  const Safetensors last = *ReadSafetensors(JoinPath(output, "base/1/last.safetensors"));
  EXPECT_FALSE(IsQuantized(StoredNetwork(last.metadata, "last")->network()));
  int64_t masked = 0;
  for (const auto& [name, mask] : last.tensors) {
    if (!absl::EndsWith(name, ".mask")) continue;
    const at::Tensor weight = quantized->Get(absl::StrCat(name.substr(0, name.size() - 5), ".weight"));
    EXPECT_EQ((weight * (1 - mask)).abs().max().item<double>(), 0) << name;
    masked += static_cast<int64_t>((1 - mask).sum().item<double>());
  }
  EXPECT_GT(masked, 0);

  // Before that the run is as without quantization, by the plain plan.
  const std::string plain = Folder("plain");
  ASSERT_TRUE(RunAll(Load(R"pb(base {
                                 training { skipping: false }
                                 phase { name: "prune" epochs: 2 }
                               })pb"),
                     plain)
                  .ok());
  const std::vector<EpochRecord> with = Records(output), without = Records(plain);
  ASSERT_EQ(with.size(), 4u);
  ASSERT_EQ(without.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(with[i].measures.test_loss(), without[i].measures.test_loss());
    EXPECT_EQ(with[i].measures.train_loss(), without[i].measures.train_loss());
  }
  EXPECT_GT(result.measures.test_top1(), without[1].measures.test_top1() - 0.05);
}

TEST(QuantizationTest, StoppedAtAnyStepItEndsWithTheSameFiles) {
  ExpectTheSameFilesStoppedAtAnyStep(Load(kPruneAndQuantize), Folder("undisturbed"), Folder("stopped"),
                                     {"epochs.jsonl", "result.json", "last.safetensors", "quantized.safetensors"});
}

// The ablation's error, or "".
std::string Refusal(const std::string& base) {
  const std::string path = JoinPath(FreshFolder("quantization_test_refusal"), "config.textproto");
  EXPECT_TRUE(WriteFileAtomically(path, SmallAblation("epochs: 3")).ok());
  return std::string(LoadAblation(path, absl::StrCat("base { ", base, " }")).status().message());
}

TEST(QuantizationTest, WhatDoesNotGoTogetherIsRefused) {
  EXPECT_EQ(Refusal("training { quantization {} }"), "");
  EXPECT_THAT(Refusal("training { quantization { weight_bits: 9 } }"),
              HasSubstr("training.quantization.weight_bits: is 9; must be from 2 to 8"));
  EXPECT_THAT(Refusal("training { quantization { activation_bits: 1 } }"),
              HasSubstr("training.quantization.activation_bits: is 1; must be from 2 to 8"));
  EXPECT_THAT(Refusal("training { quantization { start_epoch: 100000 } }"),
              HasSubstr("training.quantization.start_epoch: is 100000; must be from 0 to "));
  EXPECT_THAT(Refusal("training { quantization { range_momentum: 0 } }"),
              HasSubstr("training.quantization.range_momentum: is 0; must be above 0 and at most 1"));
  EXPECT_THAT(Refusal("training { quantization {} bn_recalibration_batches: 3 }"),
              HasSubstr("does not go with bn_recalibration_batches"));
  EXPECT_THAT(Refusal("training { quantization {} precision: BFLOAT16 }"), HasSubstr("goes with precision FLOAT32"));
  EXPECT_THAT(Refusal("training { quantization {} } compression {}"),
              HasSubstr("does not go with training.quantization"));
}

}  // namespace
}  // namespace prunelab
