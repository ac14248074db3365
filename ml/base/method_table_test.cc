#include "ml/base/method_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/base/textproto_test.pb.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

PluginKind& Leaves() {
  static auto* registry = [] {
    auto* leaves = new PluginRegistry<int>("leaf", "//test");
    leaves->Register(TestOtherLeaf::descriptor(), 1);
    leaves->Register(TestLeaf::descriptor(), 2);
    return leaves;
  }();
  return *registry;
}

constexpr char kTable[] =
    "| target | summary | options |\n"
    "|---|---|---|\n"
    "| `test_leaf` | a leaf | `rate`, `limit`, `inner` |\n"
    "| `test_other_leaf` | \\|w\\|\\*, another | `rate` |\n";

TEST(MethodTableTest, HasTheColumnsThatAreFilled) { EXPECT_EQ(MethodTable(Leaves()), kTable); }

TEST(MethodTableTest, TakesThePlaceOfTheOldOne) {
  Leaves();
  const std::string begin = "Text.\n\n<!-- methods: leaf -->\n", end = "<!-- end of methods -->\n\nMore text.\n";
  const absl::StatusOr<std::string> page = WithMethodTables(begin + "| old |\n" + end + begin + end);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(*page, begin + kTable + end + begin + kTable + end);
  EXPECT_EQ(*WithMethodTables(*page), *page);
  EXPECT_EQ(*WithMethodTables("No table.\n"), "No table.\n");
}

TEST(MethodTableTest, RefusesWhatItCannotFill) {
  EXPECT_THAT(std::string(WithMethodTables("<!-- methods: tree -->\n<!-- end of methods -->").status().message()),
              HasSubstr("\"tree\""));
  Leaves();
  EXPECT_EQ(WithMethodTables("<!-- methods: leaf -->\n").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace prunelab
