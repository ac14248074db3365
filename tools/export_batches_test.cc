// Runs //tools:export_batches as a user would.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/data/batches.h"
#include "ml/data/dataset.h"
#include "ml/data/validation_split.h"
#include "ml/safetensors/safetensors.h"
#include "tools/run_program.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

constexpr char kExport[] = "tools/export_batches";

std::string Config() {
  const std::string path = testing::TempDir() + "/config.textproto";
  EXPECT_TRUE(
      WriteFileAtomically(path, R"pb(
        name: "batches"
        base {
          network {
            [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 4 }
          }
          dataset {
            [type.googleapis.com/prunelab.Digits] {}
          }
          training { epochs: 3 batch_size: 100 random_crop_padding: 1 horizontal_flip: true validation_fraction: 0.2 }
        }
        factor {
          name: "size"
          level { name: "100" }
          level {
            name: "300"
            patch { training { batch_size: 300 } }
          }
        }
        seeds { first: 4 count: 2 }
      )pb")
          .ok());
  return path;
}

// What a run's trainer is given, written out once more.
TEST(ExportBatchesTest, AreThoseOfTheTraining) {
  const std::string output = testing::TempDir() + "/batches";
  const ProgramResult end =
      RunProgram(kExport, {"--config=" + Config(), "--output=" + output, "--arm=100", "--seed=5", "--epochs=2"});
  ASSERT_EQ(end.status, 0) << end.err;
  google::protobuf::Any digits;
  digits.set_type_url("type.googleapis.com/prunelab.Digits");
  const Dataset dataset = OpenDataset(digits).value();
  const ValidationSplit split = SplitOffValidation(dataset.train, dataset.info.classes, 0.2, 0).value();
  Augmentation augmentation;
  augmentation.random_crop_padding = 1;
  augmentation.horizontal_flip = true;
  TrainingBatches batches(split.train, dataset.normalization, augmentation, 100, /*seed=*/5, at::kFloat, at::kCPU);
  for (const int64_t epoch : {0, 1}) {
    const Safetensors file = ReadSafetensors(absl::StrCat(output, "/epoch_000", epoch, ".safetensors")).value();
    EXPECT_EQ(file.metadata.at("batch_size"), "100");
    const at::Tensor images = file.tensors.at("images"), labels = file.tensors.at("labels");
    ASSERT_EQ(images.size(0), split.train.size());
    for (int64_t index = 0; index < batches.batches_per_epoch(); ++index) {
      const Batch batch = batches.Get(epoch, index).value();
      const int64_t size = batch.labels.size(0);
      EXPECT_TRUE(at::equal(images.narrow(0, 100 * index, size), batch.images)) << epoch << " " << index;
      EXPECT_TRUE(at::equal(labels.narrow(0, 100 * index, size), batch.labels)) << epoch << " " << index;
    }
  }
  EXPECT_FALSE(PathExists(output + "/epoch_0002.safetensors"));
}

TEST(ExportBatchesTest, MistakesSayWhatWouldBeRight) {
  const std::string config = "--config=" + Config(), output = "--output=" + testing::TempDir() + "/none";
  EXPECT_THAT(RunProgram(kExport, {config, output}).err, HasSubstr("--arm"));
  EXPECT_THAT(RunProgram(kExport, {config, output, "--arm=*"}).err,
              HasSubstr("--arm=*: is 2 arms; name one, e.g. 100"));
  EXPECT_THAT(RunProgram(kExport, {config, output, "--arm=200"}).err, HasSubstr("\"200\""));
  EXPECT_THAT(RunProgram(kExport, {config, output, "--arm=100", "--epochs=0"}).err,
              HasSubstr("--epochs=0: must be at least 1"));
  EXPECT_EQ(RunProgram(kExport, {config}).status, 2);
  EXPECT_FALSE(PathExists(testing::TempDir() + "/none"));
}

}  // namespace
}  // namespace prunelab
