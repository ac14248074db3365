#include "ml/base/plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/base/textproto_test.pb.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;
using Factory = std::function<double(const google::protobuf::Message&)>;

PluginRegistry<Factory>& Strategies() {
  static auto* registry = [] {
    auto* strategies = new PluginRegistry<Factory>("test strategy", "//test/strategies");
    strategies->Register(TestLeaf::descriptor(),
                         [](const google::protobuf::Message& m) { return static_cast<const TestLeaf&>(m).rate(); });
    return strategies;
  }();
  return *registry;
}

PluginRegistry<Factory>& Families() {
  static auto* registry = [] {
    auto* families = new PluginRegistry<Factory>("test family", "//test/families");
    families->Register(TestOtherLeaf::descriptor(), [](const google::protobuf::Message&) { return 0.0; });
    return families;
  }();
  return *registry;
}

template <typename Message>
google::protobuf::Any Pack(const Message& message) {
  google::protobuf::Any any;
  any.PackFrom(message);
  return any;
}

TEST(PluginTest, FindsTheFactory) {
  TestLeaf leaf;
  leaf.set_rate(0.25);
  const google::protobuf::Any any = Pack(leaf);
  const absl::StatusOr<const Factory*> factory = Strategies().Find(any);
  ASSERT_TRUE(factory.ok()) << factory.status();
  const absl::StatusOr<std::unique_ptr<google::protobuf::Message>> message = UnpackAny(any);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ((**factory)(**message), 0.25);
}

TEST(PluginTest, DescribesItself) {
  const PluginInfo& leaf = Strategies().linked().at("prunelab.TestLeaf");
  EXPECT_EQ(leaf.method().summary(), "a leaf");
  EXPECT_EQ(leaf.target, "//test/strategies:test_leaf");
}

TEST(PluginTest, AnotherKindIsRefused) {
  Families();
  EXPECT_EQ(
      Strategies().Find(Pack(TestOtherLeaf())).status().message(),
      "[prunelab.TestOtherLeaf] is a test family, not a test strategy; linked test strategies: prunelab.TestLeaf");
}

TEST(PluginTest, WhatIsNotLinkedNamesItsTarget) {
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/prunelab.SoftFilter");
  const absl::Status status = Strategies().CheckLinked(any);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(),
            "[prunelab.SoftFilter] is not linked into this program; linked test strategies: prunelab.TestLeaf; to add "
            "it, link "
            "//test/strategies:soft_filter");
}

TEST(PluginTest, AnEmptyChoiceSaysWhatToWrite) {
  EXPECT_EQ(Strategies().CheckLinked({}).message(),
            "names no test strategy; write e.g. [type.googleapis.com/prunelab.TestLeaf] {}; linked test strategies: "
            "prunelab.TestLeaf");
}

TEST(PluginTest, AllKindsAreKnown) {
  Strategies();
  Families();
  const std::string remedy = UnlinkedTypeRemedy("prunelab.SoftFilter");
  EXPECT_THAT(remedy, HasSubstr("[prunelab.SoftFilter] is not linked into this program"));
  EXPECT_THAT(remedy, HasSubstr("linked test strategies: prunelab.TestLeaf"));
  EXPECT_THAT(remedy, HasSubstr("linked test families: prunelab.TestOtherLeaf"));
  EXPECT_THAT(remedy, HasSubstr("regularizers}:soft_filter"));
}

TEST(PluginTest, UnpackAnyRefusesWhatItCannotRead) {
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/prunelab.Absent");
  EXPECT_EQ(UnpackAny(any).status().code(), absl::StatusCode::kNotFound);
  any.set_type_url("type.googleapis.com/prunelab.TestLeaf");
  any.set_value("\xff");
  EXPECT_EQ(UnpackAny(any).status().code(), absl::StatusCode::kDataLoss);
}

TEST(PluginTest, NamesOfTypesAndTargets) {
  EXPECT_EQ(AnyTypeName(Pack(TestLeaf())), "prunelab.TestLeaf");
  EXPECT_EQ(AnyTypeName({}), "");
  EXPECT_EQ(TargetName("DynamicL1"), "dynamic_l1");
  EXPECT_EQ(TargetName("Cov"), "cov");
  EXPECT_EQ(TargetName("ResNetCifar"), "resnet_cifar");
  EXPECT_EQ(TargetName("NoPruning"), "none");
}

TEST(PluginDeathTest, TwiceTheSameName) {
  EXPECT_DEATH(Strategies().Register(TestLeaf::descriptor(), nullptr), "prunelab.TestLeaf is registered twice");
}

}  // namespace
}  // namespace prunelab
