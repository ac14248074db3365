#include "ml/base/field_error.h"

#include <gtest/gtest.h>

namespace prunelab {
namespace {

TEST(FieldErrorTest, NamesTheField) {
  const absl::Status error = FieldError("rate", "is 1.5; must be in [0, 1)");
  EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(error.message(), "rate: is 1.5; must be in [0, 1)");
  EXPECT_EQ(ErrorField(error), "rate");
  EXPECT_EQ(ErrorText(error), "is 1.5; must be in [0, 1)");
}

TEST(FieldErrorTest, GoesUpThroughMessages) {
  const absl::Status error = InField("level[2]", InField("patch.pruning", FieldError("rate", "is 2")));
  EXPECT_EQ(ErrorField(error), "level[2].patch.pruning.rate");
  EXPECT_EQ(error.message(), "level[2].patch.pruning.rate: is 2");
  EXPECT_EQ(ErrorText(error), "is 2");
}

TEST(FieldErrorTest, OtherErrorsBecomeTheFields) {
  const absl::Status error = InField("path", absl::NotFoundError("/data: no such folder"));
  EXPECT_EQ(error.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorField(error), "path");
  EXPECT_EQ(error.message(), "path: /data: no such folder");
  EXPECT_EQ(ErrorText(error), "/data: no such folder");
}

TEST(FieldErrorTest, OfTheMessageAsAWhole) {
  EXPECT_EQ(ErrorField(InField("pruning", FieldError("", "names no strategy"))), "pruning");
  EXPECT_EQ(ErrorText(InField("pruning", FieldError("", "names no strategy"))), "names no strategy");
  EXPECT_EQ(ErrorField(InField("", FieldError("rate", "is 2"))), "rate");
}

TEST(FieldErrorTest, OkStaysOk) { EXPECT_TRUE(InField("rate", absl::OkStatus()).ok()); }

TEST(FieldErrorTest, OtherPayloadsStay) {
  absl::Status error = absl::NotFoundError("gone");
  error.SetPayload("other", absl::Cord("kept"));
  EXPECT_TRUE(InField("path", error).GetPayload("other").has_value());
}

TEST(FieldErrorTest, ErrorsOfNoField) {
  EXPECT_EQ(ErrorField(absl::OkStatus()), "");
  EXPECT_EQ(ErrorField(absl::NotFoundError("a: b")), "");
  EXPECT_EQ(ErrorText(absl::NotFoundError("a: b")), "a: b");
}

}  // namespace
}  // namespace prunelab
