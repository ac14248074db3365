#include "ml/base/path_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;

TEST(PathListTest, CommasBetweenPathsAndInNames) {
  const std::string folder = FreshFolder("lists");
  setenv("BUILD_WORKING_DIRECTORY", folder.c_str(), 1);
  setenv("HOME", "/home/ada", 1);
  const auto Path = [&](const char* name) { return JoinPath(folder, name); };
  for (const char* name : {"lr=0.1,wd=0", "b", "x,y", "x", "y"}) ASSERT_TRUE(CreateFolders(Path(name)).ok());
  const auto paths = [](const char* list) {
    const auto result = PathsOf(list);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(std::vector<std::string>());
  };
  EXPECT_THAT(paths(""), testing::IsEmpty());
  EXPECT_THAT(paths("none,b"), ElementsAre(Path("none"), Path("b")));
  EXPECT_THAT(paths("lr=0.1,wd=0"), ElementsAre(Path("lr=0.1,wd=0")));
  EXPECT_THAT(paths("b,lr=0.1,wd=0,~/c"), ElementsAre(Path("b"), Path("lr=0.1,wd=0"), "/home/ada/c"));
  EXPECT_THAT(paths("lr=0.1\\,wd=0,b"), ElementsAre(Path("lr=0.1,wd=0"), Path("b")));
  EXPECT_THAT(paths("x\\,y"), ElementsAre(Path("x,y")));
  EXPECT_THAT(paths("x/,y"), ElementsAre(Path("x/"), Path("y")));
  EXPECT_EQ(PathsOf("b,x,y").status().message(),
            "\"x,y\" exists, and so do its parts between the commas; write \\, for a comma in a name, or x/,y for the "
            "parts");
}

}  // namespace
}  // namespace prunelab
