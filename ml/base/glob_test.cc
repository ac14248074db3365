#include "ml/base/glob.h"

#include <gtest/gtest.h>

#include <string>

namespace prunelab {
namespace {

TEST(GlobTest, Plain) {
  EXPECT_TRUE(GlobMatches("layer1.0.conv1", "layer1.0.conv1"));
  EXPECT_FALSE(GlobMatches("layer1.0.conv1", "layer1.0.conv10"));
  EXPECT_FALSE(GlobMatches("layer1.0.conv1", "layer1.0.conv"));
  EXPECT_FALSE(GlobMatches("layer1.0.conv1", "Layer1.0.conv1"));
  EXPECT_FALSE(GlobMatches("layer1.0", "layer110"));  // "." matches only itself
  EXPECT_FALSE(GlobMatches("[ab]", "a"));             // and so do brackets
}

TEST(GlobTest, StarCrossesDotsAndSlashes) {
  EXPECT_TRUE(GlobMatches("*", "dynamic_l1/cov"));
  EXPECT_TRUE(GlobMatches("*", ""));
  EXPECT_TRUE(GlobMatches("layer*", "layer2.0.downsample.0"));
  EXPECT_TRUE(GlobMatches("*.downsample.*", "layer2.0.downsample.0"));
  EXPECT_FALSE(GlobMatches("*.downsample.*", "downsample.0"));
  EXPECT_TRUE(GlobMatches("dynamic_l1/*", "dynamic_l1/cov"));
  EXPECT_TRUE(GlobMatches("dynamic_l1*", "dynamic_l1"));
}

TEST(GlobTest, StarTakesAsMuchAsItMust) {
  EXPECT_TRUE(GlobMatches("*ab", "aab"));
  EXPECT_TRUE(GlobMatches("*ab", "abab"));
  EXPECT_TRUE(GlobMatches("a*b*c", "a.b.b.x.c"));
  EXPECT_FALSE(GlobMatches("a*b*c", "a.c.b"));
  EXPECT_TRUE(GlobMatches("**a**", "a"));
  // The time must not grow as a power of the number of stars.
  EXPECT_FALSE(GlobMatches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*ab", std::string(10000, 'a')));
}

TEST(GlobTest, QuestionMarkIsOneCharacter) {
  EXPECT_TRUE(GlobMatches("layer?.0", "layer3.0"));
  EXPECT_FALSE(GlobMatches("layer?", "layer"));
  EXPECT_FALSE(GlobMatches("layer?", "layer12"));
  EXPECT_TRUE(GlobMatches("?*?", "ab"));
  EXPECT_FALSE(GlobMatches("?*?", "a"));
}

TEST(GlobTest, CommaMeansOr) {
  EXPECT_TRUE(GlobMatches("conv1,layer1.*", "conv1"));
  EXPECT_TRUE(GlobMatches(" conv1 , layer1.* ", "layer1.0.conv1"));
  EXPECT_FALSE(GlobMatches("conv1, layer1.*", "layer2.0.conv1"));
}

TEST(GlobTest, NothingMatchesOnlyNothing) {
  EXPECT_TRUE(GlobMatches("", ""));
  EXPECT_FALSE(GlobMatches("", "conv1"));
  EXPECT_FALSE(GlobMatches(",", "conv1"));
}

}  // namespace
}  // namespace prunelab
