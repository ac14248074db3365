#include "ml/base/file_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace prunelab {
namespace {

// What another process gets for its try to take the lock: "" or the message.
std::string TryElsewhere(const std::string& path, FileLock::Kind kind) {
  int pipe_ends[2];
  EXPECT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const absl::StatusOr<FileLock> lock = FileLock::Take(path, kind);
    const std::string text(lock.ok() ? "" : lock.status().message());
    _exit(write(pipe_ends[1], text.data(), text.size()) < 0);
  }
  close(pipe_ends[1]);
  std::string text;
  char buffer[512];
  for (ssize_t n; (n = read(pipe_ends[0], buffer, sizeof(buffer))) > 0;) text.append(buffer, n);
  close(pipe_ends[0]);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  return text;
}

TEST(FileLockTest, OneExclusiveOwnerOrManyShared) {
  const std::string path = absl::StrCat(testing::TempDir(), "/file_lock_test");
  {
    const absl::StatusOr<FileLock> lock = FileLock::Take(path, FileLock::Kind::kExclusive);
    ASSERT_TRUE(lock.ok()) << lock.status();
    const std::string owner = absl::StrCat("is held by process ", getpid(), " on ");
    EXPECT_NE(TryElsewhere(path, FileLock::Kind::kExclusive).find(owner), std::string::npos);
    EXPECT_NE(TryElsewhere(path, FileLock::Kind::kShared).find(owner), std::string::npos);
  }
  const absl::StatusOr<FileLock> shared = FileLock::Take(path, FileLock::Kind::kShared);
  ASSERT_TRUE(shared.ok());
  EXPECT_EQ(TryElsewhere(path, FileLock::Kind::kShared), "");
  EXPECT_NE(TryElsewhere(path, FileLock::Kind::kExclusive), "");
}

TEST(FileLockTest, DiesWithItsOwner) {
  const std::string path = absl::StrCat(testing::TempDir(), "/file_lock_of_the_dead");
  const pid_t child = fork();
  if (child == 0) {
    const absl::StatusOr<FileLock> lock = FileLock::Take(path, FileLock::Kind::kExclusive);
    _exit(lock.ok() ? 0 : 1);  // without calling the destructor
  }
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(FileLock::Take(path, FileLock::Kind::kExclusive).ok());
}

TEST(FileLockTest, NoticesThatItsFileIsGone) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/file_lock_folder"), moved = folder + "_moved";
  ASSERT_EQ(std::system(absl::StrCat("rm -rf '", folder, "' '", moved, "'; mkdir '", folder, "'").c_str()), 0);
  const std::string path = folder + "/.lock";
  absl::StatusOr<FileLock> lock = FileLock::Take(path, FileLock::Kind::kExclusive);
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_TRUE(lock->CheckInPlace().ok());
  const FileLock taken_over = *std::move(lock);
  EXPECT_TRUE(taken_over.CheckInPlace().ok());
  ASSERT_EQ(rename(folder.c_str(), moved.c_str()), 0);
  EXPECT_TRUE(absl::IsNotFound(taken_over.CheckInPlace()));
  // Another file with the same name does not count.
  ASSERT_EQ(std::system(absl::StrCat("mkdir '", folder, "'; touch '", path, "'").c_str()), 0);
  EXPECT_NE(std::string(taken_over.CheckInPlace().message()).find(path), std::string::npos);
}

TEST(FileLockTest, AFolderThatIsNotThereIsAnError) {
  EXPECT_FALSE(FileLock::Take("/nowhere/at/all", FileLock::Kind::kShared).ok());
}

}  // namespace
}  // namespace prunelab
