#include "ml/base/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A folder of the test's own.
class FilesTest : public testing::Test {
 protected:
  FilesTest() : folder_(JoinPath(testing::TempDir(), testing::UnitTest::GetInstance()->current_test_info()->name())) {
    EXPECT_TRUE(CreateFolders(folder_).ok());
  }
  std::string Path(const std::string& name) const { return JoinPath(folder_, name); }

  const std::string folder_;
};

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    const char* old = std::getenv(name);
    if (old != nullptr) old_ = old;
    had_ = old != nullptr;
    value == nullptr ? unsetenv(name) : setenv(name, value, 1);
  }
  ~Variable() { had_ ? setenv(name_, old_.c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::string old_;
  bool had_;
};

TEST(UserPathTest, IsTakenFromWhereThePersonTyped) {
  const Variable typed("BUILD_WORKING_DIRECTORY", "/home/ada/project"), home("HOME", "/home/ada");
  EXPECT_EQ(UserPath("runs/a"), "/home/ada/project/runs/a");
  EXPECT_EQ(UserPath("../a"), "/home/ada/project/../a");
  EXPECT_EQ(UserPath("/data"), "/data");
  EXPECT_EQ(UserPath("~/data"), "/home/ada/data");
  EXPECT_EQ(UserPath("~"), "/home/ada");
  EXPECT_EQ(UserPath("~else"), "/home/ada/project/~else");  // a name; other people's homes are not looked up
  EXPECT_EQ(UserPath(""), "");
}

TEST(UserPathTest, WithoutBazelIsFromTheCurrentFolder) {
  const Variable typed("BUILD_WORKING_DIRECTORY", nullptr);
  EXPECT_EQ(UserPath("runs/a"), "runs/a");
}

TEST(JoinPathTest, OneSlashBetween) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("/", "b"), "/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
}

TEST_F(FilesTest, WrittenIsRead) {
  const std::string contents("a\0b\n\xff", 5);
  ASSERT_TRUE(WriteFileAtomically(Path("x"), contents).ok());
  EXPECT_EQ(*ReadFile(Path("x")), contents);
  ASSERT_TRUE(WriteFileAtomically(Path("x"), "shorter").ok());
  EXPECT_EQ(*ReadFile(Path("x")), "shorter");
  ASSERT_TRUE(WriteFileAtomically(Path("empty"), "").ok());
  EXPECT_EQ(*ReadFile(Path("empty")), "");
  EXPECT_THAT(*ListFolder(folder_), ElementsAre("empty", "x"));  // no temporary is left
}

TEST_F(FilesTest, LargeFileIsReadWhole) {
  std::string contents(3 << 20, 'x');
  for (size_t i = 0; i < contents.size(); i += 4099) contents[i] = static_cast<char>(i);
  ASSERT_TRUE(WriteFileAtomically(Path("large"), contents).ok());
  EXPECT_TRUE(*ReadFile(Path("large")) == contents);
}

TEST_F(FilesTest, FailedWriteLeavesTheOldFileAndNoTemporary) {
  ASSERT_TRUE(CreateFolders(Path("taken/inside")).ok());
  const absl::Status status = WriteFileAtomically(Path("taken"), "x");  // a folder stands there
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(Path("taken")));
  EXPECT_THAT(*ListFolder(folder_), ElementsAre("taken"));
}

// On another machine, or in another container, a process of the same number may write the same file.
TEST_F(FilesTest, AProcessOfTheSameNumberElsewhereIsNotInTheWay) {
  ASSERT_TRUE(CreateFolders(Path(absl::StrCat("x.tmp.", getpid()))).ok());
  EXPECT_TRUE(WriteFileAtomically(Path("x"), "whole").ok());
  EXPECT_EQ(*ReadFile(Path("x")), "whole");
}

TEST_F(FilesTest, WriteIntoAMissingFolder) {
  const absl::Status status = WriteFileAtomically(Path("no/x"), "x");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(Path("no/x")), HasSubstr("No such file or directory")));
}

TEST_F(FilesTest, ReadErrors) {
  EXPECT_EQ(ReadFile(Path("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(ReadFile(Path("none")).status().message()),
              AllOf(HasSubstr(Path("none")), HasSubstr("cannot read")));
  EXPECT_THAT(std::string(ReadFile(folder_).status().message()), HasSubstr("is a folder, not a file"));
  ASSERT_TRUE(WriteFileAtomically(Path("file"), "0123456789").ok());
  EXPECT_THAT(std::string(ReadFile(Path("file/below")).status().message()),
              AllOf(HasSubstr(Path("file/below")), HasSubstr("a file where a folder should be")));
}

TEST_F(FilesTest, ReadNoMoreThanExpected) {
  ASSERT_TRUE(WriteFileAtomically(Path("ten"), "0123456789").ok());
  EXPECT_EQ(*ReadFile(Path("ten"), 10), "0123456789");
  const absl::Status status = ReadFile(Path("ten"), 9).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("larger than the 9 bytes"));
}

TEST_F(FilesTest, AppendedLines) {
  ASSERT_TRUE(AppendLine(Path("log"), "one").ok());
  ASSERT_TRUE(AppendLine(Path("log"), "two").ok());
  EXPECT_EQ(*ReadFile(Path("log")), "one\ntwo\n");
  EXPECT_EQ(AppendLine(Path("no/log"), "x").code(), absl::StatusCode::kNotFound);
}

TEST_F(FilesTest, FoldersAreMadeWithTheirParents) {
  ASSERT_TRUE(CreateFolders(Path("a/b//c/")).ok());
  ASSERT_TRUE(CreateFolders(Path("a/b/c")).ok());  // again
  EXPECT_TRUE(PathExists(Path("a/b/c")));
  EXPECT_FALSE(PathExists(Path("a/c")));
  EXPECT_TRUE(CreateFolders("").ok());
  ASSERT_TRUE(WriteFileAtomically(Path("a/file"), "").ok());
  for (const char* name : {"a/file", "a/file/b"}) {
    const absl::Status status = CreateFolders(Path(name));
    EXPECT_THAT(std::string(status.message()), HasSubstr("a file where a folder should be")) << name;
  }
}

TEST_F(FilesTest, CheckingAFolderCreatesNothing) {
  EXPECT_TRUE(CheckFolderCanBeWritten(folder_).ok());
  EXPECT_TRUE(CheckFolderCanBeWritten(Path("a/b/c")).ok());
  EXPECT_TRUE(CheckFolderCanBeWritten(Path("a/b/c/")).ok());
  EXPECT_TRUE(CheckFolderCanBeWritten("runs/x").ok());
  EXPECT_THAT(*ListFolder(folder_), testing::IsEmpty());
  ASSERT_TRUE(WriteFileAtomically(Path("file"), "").ok());
  for (const char* name : {"file", "file/below", "file/below/it"}) {
    EXPECT_THAT(std::string(CheckFolderCanBeWritten(Path(name)).message()), HasSubstr(Path("file") + " is a file"))
        << name;
  }
}

TEST_F(FilesTest, FolderThatCannotBeMade) {
  EXPECT_FALSE(CreateFolders("/proc/prunelab").ok());  // refused even to root
  ASSERT_EQ(symlink(Path("nowhere").c_str(), Path("link").c_str()), 0);
  EXPECT_THAT(std::string(CheckFolderCanBeWritten(Path("link/x")).message()), HasSubstr("is a link to nothing"));
}

TEST_F(FilesTest, FolderWithoutPermission) {
  ASSERT_TRUE(CreateFolders(Path("locked")).ok());
  ASSERT_EQ(chmod(Path("locked").c_str(), 0555), 0);
  const absl::Status status = CheckFolderCanBeWritten(Path("locked/x"));
  if (geteuid() == 0) {
    EXPECT_TRUE(status.ok());  // root may
  } else {
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(std::string(status.message()), HasSubstr("choose another place"));
  }
}

TEST_F(FilesTest, ListingErrors) {
  EXPECT_EQ(ListFolder(Path("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*ListFolder(folder_), testing::IsEmpty());
}

TEST_F(FilesTest, RemovesWhatKilledWritersLeft) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/temporaries");
  ASSERT_TRUE(CreateFolders(folder).ok());
  for (const char* name : {"a.json", "a.json.tmp.123", "b.tmp.", "b.tmp.x1", ".tmp.5"}) {
    ASSERT_TRUE(WriteFileAtomically(JoinPath(folder, name), "x").ok());
  }
  ASSERT_TRUE(RemoveTemporaries(folder).ok());
  EXPECT_EQ(*ListFolder(folder), (std::vector<std::string>{".tmp.5", "a.json", "b.tmp.", "b.tmp.x1"}));
}

}  // namespace
}  // namespace prunelab
