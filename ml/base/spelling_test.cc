#include "ml/base/spelling.h"

#include <gtest/gtest.h>

namespace prunelab {
namespace {

TEST(SpellingTest, CountsEdits) {
  EXPECT_EQ(EditDistance("", ""), 0u);
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("abc", ""), 3u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(EditDistance("epcohs", "epochs"), 1u);  // neighbours swapped
  EXPECT_EQ(EditDistance("epochs", "epoch"), 1u);
}

TEST(SpellingTest, NamesTheNearest) {
  const std::vector<std::string> names = {"static/none", "static/cov", "none/cov"};
  EXPECT_EQ(DidYouMean("statik/cov", names), "; did you mean \"static/cov\"?");
  EXPECT_EQ(DidYouMean("nono/cov", names), "; did you mean \"none/cov\"?");
}

TEST(SpellingTest, SaysNothingWhenNoneIsNear) {
  EXPECT_EQ(DidYouMean("rate", {"epochs", "batch_size"}), "");
  EXPECT_EQ(DidYouMean("x", {}), "");
}

}  // namespace
}  // namespace prunelab
