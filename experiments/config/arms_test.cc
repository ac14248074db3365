#include "experiments/config/arms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Factors with levels of these names.
Ablation WithLevels(const std::vector<std::vector<std::string>>& factors) {
  Ablation ablation;
  for (const std::vector<std::string>& levels : factors) {
    Factor* factor = ablation.add_factor();
    for (const std::string& level : levels) factor->add_level()->set_name(level);
  }
  return ablation;
}

TEST(ArmsTest, TheFirstFactorVariesSlowest) {
  Ablation ablation = WithLevels({{"a", "b"}, {"c", "d"}});
  ablation.add_exclude("a/d");
  const std::vector<ArmLevels> arms = ExpandArms(ablation);
  ASSERT_EQ(arms.size(), 4u);
  EXPECT_EQ(CountArms(ablation), 4);
  EXPECT_EQ(arms[1].name, "a/d");
  EXPECT_THAT(arms[1].levels, ElementsAre(0, 1));
  EXPECT_FALSE(arms[1].is_run);
  EXPECT_EQ(arms[2].name, "b/c");
  EXPECT_TRUE(arms[2].is_run);
}

TEST(ArmsTest, WithoutFactorsThereIsOneArmAndWithoutLevelsNone) {
  EXPECT_THAT(ArmNames(Ablation()), ElementsAre("base"));
  EXPECT_EQ(CountArms(Ablation()), 1);
  EXPECT_THAT(ExpandArms(WithLevels({{"a"}, {}})), IsEmpty());
  EXPECT_EQ(CountArms(WithLevels({{"a"}, {}})), 0);
}

TEST(ArmsTest, MoreArmsThanAnyAreNotCounted) {
  const std::vector<std::string> levels(101, "a");
  EXPECT_EQ(CountArms(WithLevels({levels, levels})), std::nullopt);
}

TEST(ArmsTest, NamesAreThoseOfArmsThatAreRunEachOnce) {
  Ablation ablation = WithLevels({{"a"}, {"b", "c"}, {"a", "a"}});  // named alike by hand
  EXPECT_THAT(ArmNames(ablation), ElementsAre("a/b/a", "a/c/a"));
  ablation.add_include("*/c/*");
  EXPECT_THAT(ArmNames(ablation), ElementsAre("a/c/a"));
  ablation.add_exclude("a/c/*");
  EXPECT_THAT(ArmNames(ablation), IsEmpty());
}

}  // namespace
}  // namespace prunelab
