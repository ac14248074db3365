#include "ml/base/files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/output_guard.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Leaves the calling thread no capability.
void DropCapabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  ASSERT_EQ(syscall(SYS_capset, &header, none), 0);
}

// A folder of the test's own.
class FilesTest : public testing::Test {
 protected:
  FilesTest() : folder_(JoinPath(testing::TempDir(), testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(folder_);
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
  EXPECT_EQ(UserPath("~root"), "/root");
  EXPECT_EQ(UserPath("~root/data"), "/root/data");
  EXPECT_EQ(UserPath("~no such user/x"), "/home/ada/project/~no such user/x");  // a name
  EXPECT_EQ(UserPath(""), "");
}

TEST(UserPathTest, TheHomeIsLookedUpWhereNoVariableSaysIt) {
  const std::string home = std::filesystem::path(getpwuid(geteuid())->pw_dir).string();
  for (const char* value : {static_cast<const char*>(nullptr), ""}) {
    const Variable variable("HOME", value);
    EXPECT_EQ(UserPath("~/data"), home + "/data");
  }
}

TEST(UserPathTest, WithoutBazelIsFromTheCurrentFolder) {
  const Variable typed("BUILD_WORKING_DIRECTORY", nullptr);
  EXPECT_EQ(UserPath("runs/a"), "runs/a");
}

TEST(UserPathTest, AMissingFileIsNamedWithTheFolderLookedIn) {
  {
    const Variable typed("BUILD_WORKING_DIRECTORY", "/home/ada/project");
    EXPECT_EQ(UserFolder(), "/home/ada/project");
    EXPECT_EQ(NoSuchFile("runs/w.safetensors"),
              absl::NotFoundError("runs/w.safetensors: no such file in /home/ada/project; relative paths are taken "
                                  "from there"));
    EXPECT_EQ(NoSuchFile("/data/w.safetensors"), absl::NotFoundError("/data/w.safetensors: no such file"));
    EXPECT_EQ(NoSuchFile("~/w.safetensors"), absl::NotFoundError("~/w.safetensors: no such file"));
  }
  const Variable typed("BUILD_WORKING_DIRECTORY", nullptr);
  char here[4096];
  ASSERT_NE(getcwd(here, sizeof(here)), nullptr);
  EXPECT_EQ(UserFolder(), std::string(here));
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
  const absl::Status status = WriteFileAtomically(Path("taken"), "x");  // a folder has that name
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
  EXPECT_FALSE(CreateFolders("/proc/prunelab").ok());  // refused even for root
  ASSERT_EQ(symlink(Path("nowhere").c_str(), Path("link").c_str()), 0);
  EXPECT_THAT(std::string(CheckFolderCanBeWritten(Path("link/x")).message()), HasSubstr("is a link to a missing file"));
}

TEST_F(FilesTest, FolderWithoutPermission) {
  ASSERT_TRUE(CreateFolders(Path("locked")).ok());
  ASSERT_EQ(chmod(Path("locked").c_str(), 0555), 0);
  const absl::Status status = CheckFolderCanBeWritten(Path("locked/x"));
  if (geteuid() == 0) {
    EXPECT_TRUE(status.ok());  // root may write
  } else {
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(std::string(status.message()), HasSubstr("choose another place"));
  }
}

TEST_F(FilesTest, ListingErrors) {
  EXPECT_EQ(ListFolder(Path("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*ListFolder(folder_), testing::IsEmpty());
}

// Writes the file in a process of its own that is killed in the middle of it.
void KilledWhileWriting(const std::string& path, size_t bytes) {
  const pid_t child = fork();
  if (child == 0) {
    const struct rlimit limit = {bytes, bytes};
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_DFL);
    const bool ok = WriteFileAtomically(path, std::string(bytes + 1, 'x')).ok();
    _exit(ok ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
}

TEST_F(FilesTest, RemovesWhatKilledWritersLeftAndNothingElse) {
  const std::vector<std::string> others = {"a.json",           "a.json.tmp.0123456789abcdef0123456789abcdef",
                                           "a.json.tmp.123",   "b.tmp.",
                                           "b.tmp.x1",         "notes.tmp.2024",
                                           "results.csv.tmp.7"};
  for (const std::string& name : others) ASSERT_TRUE(WriteFileAtomically(Path(name), "precious").ok());
  KilledWhileWriting(Path("a.json"), 100);
  KilledWhileWriting(Path(std::string(255, 'n')), 100);
  ASSERT_EQ(ListFolder(folder_)->size(), others.size() + 2);
  ASSERT_TRUE(RemoveTemporaries(folder_).ok());
  EXPECT_EQ(*ListFolder(folder_), others);
  for (const std::string& name : others) EXPECT_EQ(*ReadFile(Path(name)), "precious") << name;
}

TEST_F(FilesTest, TemporariesOfALivingWriterStay) {
  KilledWhileWriting(Path("a"), 100);
  const std::string temporary = Path(ListFolder(folder_)->front());
  const int fd = open(temporary.c_str(), O_RDWR);
  ASSERT_EQ(flock(fd, LOCK_EX), 0);  // as its writer does
  ASSERT_TRUE(RemoveTemporaries(folder_).ok());
  EXPECT_TRUE(PathExists(temporary));
  close(fd);
  ASSERT_TRUE(RemoveTemporaries(folder_).ok());
  EXPECT_FALSE(PathExists(temporary));
}

TEST_F(FilesTest, AFileThatMayNotGrowIsAnErrorWithARemedy) {
  ASSERT_TRUE(WriteFileAtomically(Path("x"), "old").ok());
  const pid_t child = fork();
  if (child == 0) {
    const struct rlimit limit = {1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    const absl::Status status = WriteFileAtomically(Path("x"), std::string(2000, 'x'));
    _exit(absl::IsResourceExhausted(status) && absl::StrContains(status.message(), "ulimit -f") ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_THAT(*ListFolder(folder_), ElementsAre("x"));
  EXPECT_EQ(*ReadFile(Path("x")), "old");
}

TEST_F(FilesTest, NamesOfAnyLegalLengthCanBeWritten) {
  std::string umlauts;
  for (int i = 0; i < 127; ++i) umlauts += "\u00fc";
  for (const std::string& name : {std::string(255, 'n'), std::string(216, 'n'), umlauts, "n" + umlauts}) {
    ASSERT_TRUE(WriteFileAtomically(Path(name), name).ok()) << name;
    EXPECT_EQ(*ReadFile(Path(name)), name);
  }
  EXPECT_EQ(ListFolder(folder_)->size(), 4);
  const absl::Status status = WriteFileAtomically(Path(std::string(256, 'n')), "x");
  EXPECT_THAT(std::string(status.message()), HasSubstr("choose a shorter name"));
}

mode_t Mode(const std::string& path) {
  struct stat info = {};
  EXPECT_EQ(lstat(path.c_str(), &info), 0) << path;
  return info.st_mode;
}

TEST_F(FilesTest, TheOldFilesModeAndOwnerStay) {
  for (const mode_t mode : {0600, 0644, 0666, 0755, 0440}) {
    if (mode == 0440 && geteuid() != 0) continue;  // cannot be written to
    ASSERT_TRUE(WriteFileAtomically(Path("x"), "old").ok());
    ASSERT_EQ(chmod(Path("x").c_str(), mode), 0);
    const bool another = chown(Path("x").c_str(), 1234, 4321) == 0;  // for root, but not in every sandbox
    const mode_t umask_before = umask(077);
    ASSERT_TRUE(WriteFileAtomically(Path("x"), "new").ok());
    umask(umask_before);
    EXPECT_EQ(Mode(Path("x")) & 07777, mode);
    struct stat info = {};
    ASSERT_EQ(stat(Path("x").c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, another ? 1234 : geteuid());
    EXPECT_EQ(info.st_gid, another ? 4321 : getegid());
    ASSERT_EQ(unlink(Path("x").c_str()), 0);
  }
  const mode_t umask_before = umask(027);
  ASSERT_TRUE(WriteFileAtomically(Path("new"), "x").ok());
  umask(umask_before);
  EXPECT_EQ(Mode(Path("new")) & 07777, 0640);
}

TEST_F(FilesTest, AWriteProtectedFileIsRefused) {
  ASSERT_TRUE(WriteFileAtomically(Path("x"), "old").ok());
  ASSERT_EQ(chmod(Path("x").c_str(), 0444), 0);
  absl::Status status;
  std::thread([&] {  // capabilities are a thread's own: this one gives up root's right to write everything
    DropCapabilities();
    status = WriteFileAtomically(Path("x"), "new");
  })
      .join();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(Path("x")));
  EXPECT_EQ(*ReadFile(Path("x")), "old");
}

TEST_F(FilesTest, LinksAreWrittenThrough) {
  ASSERT_TRUE(CreateFolders(Path("elsewhere")).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("elsewhere/target"), "old").ok());
  const auto link = [&](const std::string& to, const char* name) {
    ASSERT_EQ(symlink(to.c_str(), Path(name).c_str()), 0);
  };
  link("elsewhere/target", "relative");
  link(Path("relative"), "link_to_link");
  link("elsewhere/new", "dangling");
  link("elsewhere/missing/new", "dangling_far");
  link("loop_b", "loop_a");
  link("loop_a", "loop_b");
  ASSERT_TRUE(WriteFileAtomically(Path("link_to_link"), "new").ok());
  EXPECT_EQ(*ReadFile(Path("elsewhere/target")), "new");
  ASSERT_TRUE(WriteFileAtomically(Path("dangling"), "made").ok());
  EXPECT_EQ(*ReadFile(Path("elsewhere/new")), "made");
  EXPECT_THAT(*ListFolder(Path("elsewhere")), ElementsAre("new", "target"));
  EXPECT_EQ(WriteFileAtomically(Path("dangling_far"), "x").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(WriteFileAtomically(Path("loop_a"), "x").message()), HasSubstr("form a circle"));
  for (const char* name : {"relative", "link_to_link", "dangling", "dangling_far", "loop_a", "loop_b"}) {
    EXPECT_TRUE(S_ISLNK(Mode(Path(name)))) << name;
  }
}

TEST_F(FilesTest, WhatIsNoFileIsWrittenIntoOrRefused) {
  ASSERT_TRUE(WriteFileAtomically("/dev/null", "x").ok());
  EXPECT_TRUE(S_ISCHR(Mode("/dev/null")));
  EXPECT_EQ(WriteFileAtomically("/dev/full", "x").code(), absl::StatusCode::kResourceExhausted);
  if (geteuid() == 0 && mknod(Path("null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0) {
    EXPECT_TRUE(WriteFileAtomically(Path("null"), "x").ok());
    EXPECT_TRUE(S_ISCHR(Mode(Path("null"))));
  }
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0666), 0);
  EXPECT_THAT(std::string(WriteFileAtomically(Path("pipe"), "x").message()), HasSubstr("a pipe that nobody reads"));
  const int reader = open(Path("pipe").c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_TRUE(WriteFileAtomically(Path("pipe"), "through").ok());
  char read_bytes[16];
  EXPECT_EQ(std::string(read_bytes, read(reader, read_bytes, sizeof(read_bytes))), "through");
  close(reader);
  EXPECT_TRUE(S_ISFIFO(Mode(Path("pipe"))));
  // A file that has lost its name is written through its descriptor.
  const int fd = open(Path("unnamed").c_str(), O_RDWR | O_CREAT, 0666);
  ASSERT_EQ(unlink(Path("unnamed").c_str()), 0);
  ASSERT_TRUE(WriteFileAtomically(absl::StrCat("/proc/self/fd/", fd), "bytes").ok());
  EXPECT_EQ(std::string(read_bytes, pread(fd, read_bytes, sizeof(read_bytes), 0)), "bytes");
  close(fd);
  EXPECT_THAT(std::string(WriteFileAtomically(folder_ + "/", "x").message()), HasSubstr("the name of a folder"));
  EXPECT_THAT(*ListFolder(folder_), testing::Each(testing::AnyOf("null", "pipe")));
}

TEST_F(FilesTest, OneFileByManyNames) {
  ASSERT_TRUE(CreateFolders(Path("sub")).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("x"), "x").ok());
  ASSERT_TRUE(WriteFileAtomically(Path("y"), "x").ok());
  ASSERT_EQ(symlink("x", Path("soft").c_str()), 0);
  ASSERT_EQ(link(Path("x").c_str(), Path("hard").c_str()), 0);
  ASSERT_EQ(symlink(folder_.c_str(), Path("folder").c_str()), 0);
  ASSERT_EQ(symlink("new", Path("dangling").c_str()), 0);
  const int fd = open(Path("x").c_str(), O_RDONLY);
  const std::string by_descriptor = absl::StrCat("/proc/self/fd/", fd);
  for (const std::string& name :
       {Path("./x"), Path("sub/../x"), Path("soft"), Path("hard"), Path("folder/x"), by_descriptor}) {
    EXPECT_TRUE(SameFile(Path("x"), name)) << name;
    EXPECT_FALSE(SameFile(Path("y"), name)) << name;
    const absl::Status over_input = CheckOutputs({{"--input", Path("x")}}, {{"--output", name}});
    EXPECT_EQ(over_input.message(), absl::StrCat("--output=", name, ": is the file that --input=", Path("x"),
                                                 " names, which is an input; choose another name for the output"));
    EXPECT_THAT(std::string(CheckOutputs({}, {{"--a", Path("x")}, {"--b", name}}).message()),
                HasSubstr("give each a file of its own"));
  }
  close(fd);
  // The same for files that do not exist yet.
  for (const std::string& name : {Path("./new"), Path("folder/new"), Path("dangling")}) {
    EXPECT_TRUE(SameFile(Path("new"), name)) << name;
    EXPECT_FALSE(SameFile(Path("newer"), name)) << name;
    EXPECT_FALSE(SameFile(Path("sub/new"), name)) << name;
    EXPECT_FALSE(CheckOutputs({}, {{"--a", Path("new")}, {"--b", name}}).ok()) << name;
  }
  EXPECT_TRUE(
      CheckOutputs({{"--input", Path("x")}, {"--none", ""}}, {{"--a", Path("new")}, {"--b", Path("y")}, {"--c", ""}})
          .ok());
}

TEST_F(FilesTest, OutputsThatCannotBeWrittenAreRefusedAtOnce) {
  const auto message = [&](const std::string& path) {
    return std::string(CheckOutputs({}, {{"--output", path}}).message());
  };
  EXPECT_THAT(message(folder_),
              AllOf(HasSubstr("--output: "), HasSubstr("is a folder, but a file is to be written there")));
  EXPECT_THAT(message(Path("no/x")), HasSubstr(absl::StrCat("there is no folder ", Path("no"), "; create it first")));
  EXPECT_EQ(message("/dev/null"), "");
  ASSERT_TRUE(WriteFileAtomically(Path("log"), "").ok());
  const int before = dup(STDOUT_FILENO), log = open(Path("log").c_str(), O_WRONLY);
  dup2(log, STDOUT_FILENO);
  const std::string to_log = message(Path("log")), to_stdout = message("/dev/stdout");
  dup2(before, STDOUT_FILENO);
  close(before);
  close(log);
  EXPECT_THAT(to_log, HasSubstr("is where this program's messages go"));
  EXPECT_THAT(to_stdout, HasSubstr("is where this program's messages go"));
}

TEST_F(FilesTest, WhatWasReadIsNotWrittenOver) {
  for (const char* name : {"before", "read", "other"}) ASSERT_TRUE(WriteFileAtomically(Path(name), "old").ok());
  ASSERT_TRUE(ReadFile(Path("before")).ok());
  ASSERT_EQ(link(Path("read").c_str(), Path("hard").c_str()), 0);
  const pid_t child = fork();  // because the setting cannot be undone
  if (child == 0) {
    ProtectWhatIsRead();
    const bool read = ReadFile(Path("read")).ok();
    bool right =
        read && WriteFileAtomically(Path("before"), "new").ok() && WriteFileAtomically(Path("other"), "new").ok();
    for (const char* name : {"read", "hard"}) {
      const absl::Status status = WriteFileAtomically(Path(name), "new");
      right = right && absl::StrContains(status.message(), "is a file that was read");
    }
    _exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(*ReadFile(Path("read")), "old");
}

}  // namespace
}  // namespace prunelab
