// The tables of docs/methods.md are those that the plugins make.
#include <gtest/gtest.h>

#include "ml/base/files.h"
#include "ml/base/method_table.h"

namespace prunelab {
namespace {

TEST(MethodTablesTest, ThePageSaysWhatThePluginsSay) {
  const absl::StatusOr<std::string> page = ReadFile("docs/methods.md");
  ASSERT_TRUE(page.ok()) << page.status();
  const absl::StatusOr<std::string> wanted = WithMethodTables(*page);
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  EXPECT_EQ(*page, *wanted) << "bazel run //tools:method_tables writes it again";
}

TEST(MethodTablesTest, EveryPluginSaysWhatItDoes) {
  int plugins = 0;
  for (const PluginKind* kind : PluginKind::All()) {
    for (const auto& [name, info] : kind->linked()) {
      EXPECT_FALSE(info.method().summary().empty()) << name;
      ++plugins;
    }
  }
  EXPECT_GE(plugins, 41);  // families of networks, data sets, strategies, regularizers
}

}  // namespace
}  // namespace prunelab
