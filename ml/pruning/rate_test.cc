#include "ml/pruning/rate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/base/parse_plugin.h"
#include "ml/pruning/static.pb.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

google::protobuf::Any Plugin(const char* text) { return *ParsePlugin("--pruning", text); }

TEST(RateTest, IsSetAndNothingElse) {
  const auto with = WithRate(Plugin("[type.googleapis.com/prunelab.Static] { importance: L2 }"), 0.25);
  ASSERT_TRUE(with.ok()) << with.status();
  Static parameters;
  ASSERT_TRUE(with->UnpackTo(&parameters));
  Static expected;
  expected.set_rate(0.25);
  expected.set_importance(Importance::L2);
  EXPECT_EQ(parameters.SerializeAsString(), expected.SerializeAsString());
}

TEST(RateTest, WhereThereIsNoneOrAnotherIsRefused) {
  const auto set = WithRate(Plugin("[type.googleapis.com/prunelab.Static] { rate: 0.5 }"), 0.25);
  EXPECT_EQ(ErrorField(set.status()), "rate");
  EXPECT_EQ(ErrorText(set.status()), "is 0.5, and it is what is looked for; leave it out");
  const auto bounded = WithRate(Plugin("[type.googleapis.com/prunelab.Fpgm] { norm_rate: 0.3 }"), 0.25);
  EXPECT_EQ(ErrorField(bounded.status()), "norm_rate");
  const auto none = WithRate(Plugin("[type.googleapis.com/prunelab.NoPruning] {}"), 0.25);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("prunelab.NoPruning has no rate"));
}

}  // namespace
}  // namespace prunelab
