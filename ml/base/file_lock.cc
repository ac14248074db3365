#include "ml/base/file_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace prunelab {

absl::StatusOr<FileLock> FileLock::Take(const std::string& path, Kind kind) {
  FileLock lock(path, open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (lock.fd_ < 0) {
    const std::string text = absl::StrCat(path, ": cannot be opened for locking: ", std::strerror(errno));
    return errno == EACCES || errno == EROFS ? absl::PermissionDeniedError(text) : absl::InternalError(text);
  }
  struct flock range = {};
  range.l_type = kind == Kind::kExclusive ? F_WRLCK : F_RDLCK;
  range.l_whence = SEEK_SET;
  if (fcntl(lock.fd_, F_SETLK, &range) != 0) {
    if (errno != EACCES && errno != EAGAIN) {
      return absl::InternalError(absl::StrCat(path, ": cannot be locked: ", std::strerror(errno)));
    }
    char owner[256] = "";
    const ssize_t size = pread(lock.fd_, owner, sizeof(owner) - 1, 0);
    const std::string name(absl::StripAsciiWhitespace(std::string(owner, size > 0 ? size : 0)));
    return absl::FailedPreconditionError(absl::StrCat(path, ": is held by ", name.empty() ? "another process" : name,
                                                      "; wait until it ends, or stop it"));
  }
  if (kind == Kind::kExclusive) {
    char host[128] = "";
    gethostname(host, sizeof(host) - 1);
    const std::string owner = absl::StrCat("process ", getpid(), " on ", host, "\n");
    // Only for a message: the lock is valid without it, e.g. on a full disk.
    if (ftruncate(lock.fd_, 0) != 0 || pwrite(lock.fd_, owner.data(), owner.size(), 0) < 0) errno = 0;
  }
  return lock;
}

absl::Status FileLock::CheckInPlace() const {
  struct stat held = {}, found = {};
  const bool seen = fstat(fd_, &held) == 0 && stat(path_.c_str(), &found) == 0;
  // If a server does not answer for a while, the file is not lost.
  if (!seen && errno != ENOENT && errno != ENOTDIR && errno != ESTALE) return absl::OkStatus();
  if (seen && held.st_dev == found.st_dev && held.st_ino == found.st_ino) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(
      path_, ": is no longer the file that was locked: the folder was removed, moved or unmounted in the meantime"));
}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace prunelab
