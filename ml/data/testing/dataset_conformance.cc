// What every data set must do, linked with one registration by dataset() in defs.bzl. The parameters come in the
// variable PRUNELAB_DATASET, an Any in text form.

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "google/protobuf/any.pb.h"
#include "google/protobuf/text_format.h"
#include "ml/data/batches.h"
#include "ml/data/dataset.h"

namespace prunelab {
namespace {

class DatasetConformance : public testing::Test {
 protected:
  // Reading a data set may take a second: all tests share one.
  static void SetUpTestSuite() {
    setenv("BUILD_WORKING_DIRECTORY", testing::TempDir().c_str(), 1);
    parameters_ = new google::protobuf::Any;
    const char* text = std::getenv("PRUNELAB_DATASET");
    ASSERT_NE(text, nullptr) << "PRUNELAB_DATASET is not set; the macro dataset() sets it";
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, parameters_)) << text;
    absl::StatusOr<Dataset> opened = OpenDataset(*parameters_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    dataset_ = new Dataset(*std::move(opened));
  }
  void SetUp() override { ASSERT_NE(dataset_, nullptr); }

  static google::protobuf::Any* parameters_;
  static Dataset* dataset_;
};

google::protobuf::Any* DatasetConformance::parameters_ = nullptr;
Dataset* DatasetConformance::dataset_ = nullptr;

// The images as a tensor.
at::Tensor PixelsOf(const LabelledImages& data) {
  if (data.source == nullptr) return data.images;
  const auto [channels, height, width] = ShapeOf(data);
  const at::Tensor pixels = at::empty({data.size(), channels, height, width}, at::kByte);
  for (int64_t i = 0; i < data.size(); ++i) {
    const absl::Status read = data.source->Read(i, pixels[i].mutable_data_ptr<uint8_t>());
    EXPECT_TRUE(read.ok()) << read;
  }
  return pixels;
}

void ExpectSame(const DatasetInfo& a, const DatasetInfo& b) {
  EXPECT_EQ(a.classes, b.classes);
  EXPECT_EQ(a.channels, b.channels);
  EXPECT_EQ(a.height, b.height);
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.train_images, b.train_images);
  EXPECT_EQ(a.test_images, b.test_images);
}

TEST_F(DatasetConformance, DescribeAgreesWithOpen) {
  const absl::StatusOr<DatasetInfo> described = DescribeDataset(*parameters_);
  ASSERT_TRUE(described.ok()) << described.status();
  ExpectSame(*described, dataset_->info);
  ExpectSame(InfoOf(dataset_->info.classes, dataset_->train, dataset_->test), dataset_->info);
}

TEST_F(DatasetConformance, TensorsAreWellFormed) {
  const DatasetInfo& info = dataset_->info;
  EXPECT_GE(info.classes, 2);
  for (const LabelledImages* part : {&dataset_->train, &dataset_->test}) {
    if (part->source != nullptr) {
      EXPECT_FALSE(part->images.defined());
      EXPECT_EQ(part->source->size(), part->size());
    } else {
      const at::Tensor& images = part->images;
      EXPECT_TRUE(images.scalar_type() == at::kByte || images.scalar_type() == at::kFloat) << images.scalar_type();
      EXPECT_TRUE(images.is_cpu() && images.is_contiguous());
      EXPECT_FALSE(images.requires_grad());
    }
    EXPECT_TRUE(part->labels.is_cpu() && part->labels.is_contiguous());
    EXPECT_EQ(part->labels.scalar_type(), at::kLong);
    EXPECT_GE(part->size(), 1);
    EXPECT_EQ(part->labels.sizes(), at::IntArrayRef({part->size()}));
    EXPECT_EQ(PixelsOf(*part).sizes(), at::IntArrayRef({part->size(), info.channels, info.height, info.width}));
    EXPECT_GE(part->labels.min().item<int64_t>(), 0);
    EXPECT_LT(part->labels.max().item<int64_t>(), info.classes);
  }
}

TEST_F(DatasetConformance, EveryClassIsInTheTrainingData) {
  const at::Tensor counts = at::bincount(dataset_->train.labels, {}, dataset_->info.classes);
  EXPECT_EQ(counts.size(0), dataset_->info.classes);
  EXPECT_GE(counts.min().item<int64_t>(), 1) << counts;
}

TEST_F(DatasetConformance, OneNormalizationAChannel) {
  const Normalization& normalization = dataset_->normalization;
  EXPECT_TRUE(std::isfinite(normalization.scale) && normalization.scale > 0);
  ASSERT_EQ(static_cast<int64_t>(normalization.mean.size()), dataset_->info.channels);
  ASSERT_EQ(static_cast<int64_t>(normalization.stddev.size()), dataset_->info.channels);
  for (const double mean : normalization.mean) EXPECT_TRUE(std::isfinite(mean));
  for (const double stddev : normalization.stddev) EXPECT_TRUE(std::isfinite(stddev) && stddev > 0);
  const at::Tensor images =
      EvaluationBatch(dataset_->train, normalization, 0, dataset_->train.size(), at::kFloat, at::kCPU)->images;
  EXPECT_TRUE(at::isfinite(images).all().item<bool>());
  // This detects a scale for another range of pixels (255 for 0 to 16, say).
  EXPECT_LT(images.abs().mean().item<double>(), 5);
  EXPECT_GT(images.std().item<double>(), 0.05);
}

TEST_F(DatasetConformance, OpenedTwiceIsTheSame) {
  const absl::StatusOr<Dataset> again = OpenDataset(*parameters_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(at::equal(PixelsOf(again->train), PixelsOf(dataset_->train)));
  EXPECT_TRUE(at::equal(again->train.labels, dataset_->train.labels));
  EXPECT_TRUE(at::equal(PixelsOf(again->test), PixelsOf(dataset_->test)));
  EXPECT_TRUE(at::equal(again->test.labels, dataset_->test.labels));
  EXPECT_EQ(again->fingerprint, dataset_->fingerprint);
  EXPECT_EQ(again->normalization.mean, dataset_->normalization.mean);
  EXPECT_EQ(again->normalization.stddev, dataset_->normalization.stddev);
  if (dataset_->train.source != nullptr) return;
  EXPECT_NE(again->train.images.const_data_ptr(), dataset_->train.images.const_data_ptr())
      << "two data sets share memory that one of them could change";
}

TEST_F(DatasetConformance, FingerprintIsOfTheData) {
  EXPECT_THAT(dataset_->fingerprint, testing::MatchesRegex("[0-9a-f]{64}"));
  EXPECT_EQ(dataset_->fingerprint, DataFingerprint(dataset_->train, dataset_->test));
}

}  // namespace
}  // namespace prunelab
