#include "ml/data/dataset.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

#include "ml/base/digest.h"
#include "ml/data/digits.pb.h"

namespace prunelab {
namespace {

google::protobuf::Any Pack(const google::protobuf::Message& message) {
  google::protobuf::Any any;
  any.PackFrom(message);
  return any;
}

TEST(DatasetTest, TheLinkedDataSetIsFoundByItsParameters) {
  ASSERT_EQ(Datasets().linked().size(), 1u);
  const PluginInfo& info = Datasets().linked().at("prunelab.Digits");
  EXPECT_EQ(info.target, "//ml/data:digits");
  EXPECT_FALSE(info.method().summary().empty());
  const absl::StatusOr<DatasetInfo> described = DescribeDataset(Pack(Digits()));
  ASSERT_TRUE(described.ok()) << described.status();
  EXPECT_EQ(described->classes, 10);
}

TEST(DatasetTest, OneThatIsNotLinkedIsNamedWithItsTarget) {
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/prunelab.Synthetic");
  for (const absl::Status& status : {DescribeDataset(any).status(), OpenDataset(any).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    const std::string message(status.message());
    EXPECT_NE(message.find("prunelab.Synthetic"), std::string::npos) << message;
    EXPECT_NE(message.find("linked data sets: prunelab.Digits"), std::string::npos) << message;
    EXPECT_NE(message.find("//ml/data:synthetic"), std::string::npos) << message;
  }
}

TEST(DatasetTest, AnEmptyAnyNamesNoDataSet) {
  const absl::Status status = OpenDataset(google::protobuf::Any()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(status.message()).find("names no data set"), std::string::npos) << status;
}

TEST(DatasetTest, BytesThatDoNotParseAreAnError) {
  google::protobuf::Any any = Pack(Digits());
  any.set_value("\xFF");
  EXPECT_EQ(OpenDataset(any).status().code(), absl::StatusCode::kDataLoss);
}

TEST(DatasetTest, TheFingerprintIsOfTypesShapesAndBytes) {
  const LabelledImages train = {at::arange(6).to(at::kByte).view({1, 1, 2, 3}), at::zeros({1}, at::kLong)};
  const LabelledImages test = {at::zeros({1, 1, 2, 3}, at::kByte), at::ones({1}, at::kLong)};
  const std::string zero(8, '\0');
  EXPECT_EQ(
      DataFingerprint(train, test),
      Sha256("uint8 1x1x2x3 " + Sha256(std::string("\0\1\2\3\4\5", 6)) + "\nint64 1 " + Sha256(zero) +
             "\nuint8 1x1x2x3 " + Sha256(std::string(6, '\0')) + "\nint64 1 " + Sha256("\1" + zero.substr(1)) + "\n"));
  const LabelledImages reshaped = {train.images.view({1, 1, 3, 2}), train.labels};
  EXPECT_NE(DataFingerprint(train, test), DataFingerprint(reshaped, test));
  EXPECT_NE(DataFingerprint(train, test), DataFingerprint(test, train));
}

}  // namespace
}  // namespace prunelab
