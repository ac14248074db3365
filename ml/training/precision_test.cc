// training { precision: BFLOAT16 }: where it is refused, and what it trains. If the processor lacks it, LibTorch
// computes the same slowly, so these tests run on any processor.
#include "ml/training/precision.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/base/field_error.h"
#include "ml/kernels/instruction_set.h"
#include "ml/models/dataset_defaults.h"
#include "ml/models/model_builder.h"
#include "ml/models/testing/built_network.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

google::protobuf::Any Plugin(const std::string& text) {
  google::protobuf::Any any;
  EXPECT_TRUE(
      google::protobuf::TextFormat::ParseFromString(absl::StrCat("[type.googleapis.com/prunelab.", text), &any));
  return any;
}

TEST(CheckPrecisionTest, RefusesWhatTheDeviceWouldEmulate) {
  Training bfloat16, float32;
  bfloat16.set_precision(Training::BFLOAT16);
  EXPECT_TRUE(CheckPrecision(bfloat16, at::kCPU, /*native_bfloat16=*/true).ok());
  EXPECT_TRUE(CheckPrecision(bfloat16, at::kCUDA, /*native_bfloat16=*/true).ok());
  EXPECT_TRUE(CheckPrecision(float32, at::kCPU, /*native_bfloat16=*/false).ok());

  const absl::Status cpu = CheckPrecision(bfloat16, at::kCPU, /*native_bfloat16=*/false);
  EXPECT_EQ(ErrorField(cpu), "precision");
  EXPECT_THAT(ErrorText(cpu), HasSubstr("is BFLOAT16, but this machine's CPU has neither avx512_bf16 nor amx_bf16"));
  EXPECT_THAT(ErrorText(cpu), HasSubstr("use FLOAT32, a CPU that has one of them"));
  const absl::Status gpu = CheckPrecision(bfloat16, at::kCUDA, /*native_bfloat16=*/false);
  EXPECT_EQ(ErrorField(gpu), "precision");
  EXPECT_THAT(ErrorText(gpu), HasSubstr("GPU is of a compute capability below 8"));
}

TEST(CheckPrecisionTest, Tf32IsAGpus) {
  Training tf32;
  tf32.set_precision(Training::TF32);
  EXPECT_TRUE(CheckPrecision(tf32, at::kCUDA, /*native_bfloat16=*/true).ok());
  const absl::Status old = CheckPrecision(tf32, at::kCUDA, /*native_bfloat16=*/false);
  EXPECT_EQ(ErrorField(old), "precision");
  EXPECT_EQ(ErrorText(old),
            "is TF32, but this machine's GPU is of a compute capability below 8 and does not have it; use FLOAT32, or "
            "a GPU from Ampere on");
  for (const bool native_bfloat16 : {false, true}) {
    const absl::Status cpu = CheckPrecision(tf32, at::kCPU, native_bfloat16);
    EXPECT_EQ(ErrorField(cpu), "precision");
    EXPECT_EQ(ErrorText(cpu), "is TF32, which only GPUs compute with; use FLOAT32 on the CPU, or a GPU");
  }
  EXPECT_EQ(ErrorField(CheckPrecision(tf32, at::kCPU)), "precision");
}

TEST(PrecisionNameTest, IsThatOfRecordsAndFlags) {
  EXPECT_EQ(PrecisionName(Training::FLOAT32), "float32");
  EXPECT_EQ(PrecisionName(Training::BFLOAT16), "bfloat16");
  EXPECT_EQ(PrecisionName(Training::TF32), "tf32");
}

class Bfloat16TrainingTest : public testing::Test {
 protected:
  Bfloat16TrainingTest() : has_(HasBfloat16()), digits_(*OpenDataset(Plugin("Digits] {}"))) {
    SetHasBfloat16(true);
    at::set_num_threads(1);  // steps are tiny
  }
  ~Bfloat16TrainingTest() override { SetHasBfloat16(has_); }

  TrainingSetup Setup(Training::Precision precision, const std::string& pruning = kDynamic) {
    TrainingSetup setup;
    setup.network = BuiltNetwork(BuildNetwork(Plugin("ResNetCifar] { depth: 8 width: 8 }"), DefaultsOf(digits_.info)));
    setup.dataset = &digits_;
    setup.config.set_epochs(4);
    setup.config.set_batch_size(64);
    setup.config.set_precision(precision);
    setup.config.mutable_sgd()->set_learning_rate(0.05);
    setup.config.mutable_sgd()->set_momentum(0.9);
    setup.config.mutable_sgd()->set_weight_decay(1e-4);
    setup.strategy = *CreatePruningStrategy(Plugin(pruning), {&setup.network, 1});
    setup.regularizer = *CreateRegularizer(Plugin("Cov] {}"), setup.network);
    setup.penalty_weight = 0.1;
    setup.seed = 1;
    return setup;
  }
  std::unique_ptr<Trainer> Start(Training::Precision precision, const std::string& pruning = kDynamic) {
    return *Trainer::Create(Setup(precision, pruning));
  }

  static constexpr char kDynamic[] = "DynamicL1] { rate: 0.5 ranking { scope: PER_LAYER } }";
  static constexpr char kDense[] = "NoPruning] {}";
  const bool has_;
  const Dataset digits_;
};

TEST_F(Bfloat16TrainingTest, IsRefusedBeforeAnyTraining) {
  SetHasBfloat16(false);
  const absl::Status status = Trainer::Create(Setup(Training::BFLOAT16)).status();
  EXPECT_EQ(ErrorField(status), "training.precision");
  EXPECT_TRUE(Trainer::Create(Setup(Training::FLOAT32)).ok());
}

TEST_F(Bfloat16TrainingTest, LearnsTheDigitsAsFloat32Does) {
  const std::unique_ptr<Trainer> narrow = Start(Training::BFLOAT16, kDense), wide = Start(Training::FLOAT32, kDense);
  EpochRecord bfloat16, float32;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    bfloat16 = *narrow->RunEpoch();
    float32 = *wide->RunEpoch();
    if (epoch > 0) continue;
    EXPECT_NE(bfloat16.measures.train_loss(), float32.measures.train_loss());
    EXPECT_NEAR(bfloat16.measures.train_loss(), float32.measures.train_loss(), 0.05 * float32.measures.train_loss());
    EXPECT_NEAR(bfloat16.measures.penalty(), float32.measures.penalty(), 0.1 * float32.measures.penalty());
  }
  EXPECT_GT(bfloat16.measures.test_top1(), 0.9);
  EXPECT_NEAR(bfloat16.measures.test_top1(), float32.measures.test_top1(), 0.05);
  for (const NamedTensor& parameter : narrow->model().parameters()) {
    EXPECT_EQ(parameter.tensor.scalar_type(), at::kFloat) << parameter.name;
  }
}

// The test data's loss and accuracy are those of the float32 network, as every tool computes them from its weights.
TEST_F(Bfloat16TrainingTest, IsEvaluatedInFloat32) {
  const std::unique_ptr<Trainer> trainer = Start(Training::BFLOAT16);
  const EpochRecord record = *trainer->RunEpoch();
  ReferencePlan plan;
  const Evaluation evaluation = *Evaluate(trainer->model(), plan, digits_.test, digits_.normalization, 100);
  EXPECT_NEAR(record.measures.test_loss(), evaluation.loss, 1e-5 * evaluation.loss);
  EXPECT_EQ(record.measures.test_top1(), evaluation.top1);
}

TEST_F(Bfloat16TrainingTest, RepeatsAndGoesOnBitForBit) {
  const std::unique_ptr<Trainer> undisturbed = Start(Training::BFLOAT16);
  TrainingSetup stopped_setup = Setup(Training::BFLOAT16);
  int64_t steps = 0;
  stopped_setup.stop = [&] { return ++steps == 30; };  // in the second epoch of 23 steps each
  const std::unique_ptr<Trainer> stopped = *Trainer::Create(std::move(stopped_setup));
  EXPECT_EQ(stopped->RunEpoch()->measures.train_loss(), undisturbed->RunEpoch()->measures.train_loss());
  EXPECT_TRUE(absl::IsCancelled(stopped->RunEpoch().status()));
  const std::unique_ptr<Trainer> resumed = Start(Training::BFLOAT16);
  ASSERT_TRUE(resumed->LoadState(stopped->SaveState(), "state").ok());
  const EpochRecord expected = *undisturbed->RunEpoch(), record = *resumed->RunEpoch();
  EXPECT_GT(record.measures.filter_sparsity(), 0.4);
  // Masked filters are computed, too.
  EXPECT_EQ(resumed->executed_macs(), DenseTrainingMacs(resumed->model().info()));
  EXPECT_EQ(record.measures.train_loss(), expected.measures.train_loss());
  EXPECT_EQ(record.measures.test_loss(), expected.measures.test_loss());
  for (const NamedTensor& parameter : undisturbed->model().parameters()) {
    EXPECT_TRUE(at::equal(parameter.tensor, resumed->model().Get(parameter.name))) << parameter.name;
  }
}

}  // namespace
}  // namespace prunelab
