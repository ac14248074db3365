// A lock that a process holds on a file and that ends with the process, also over NFS (fcntl record locks). It makes a
// process the only owner of a folder.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const FileLock lock, FileLock::Take(JoinPath(output, ".lock"),
//   FileLock::Kind::kExclusive));
//
// The file is created if it is missing and is never removed, because a process that removed it could not know whether
// another one has just opened it. It contains the owner's host and process number, for the message to a second process.
// The operating system gives such locks to processes, not to threads, and a process must not open the file again by
// other means.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace prunelab {

class FileLock {
 public:
  enum class Kind {
    kShared,     // any number of processes at once
    kExclusive,  // one process, and no shared locks
  };

  // Does not wait. FailedPrecondition with the owner's name if the lock is held; the file system's errors.
  static absl::StatusOr<FileLock> Take(const std::string& path, Kind kind);

  // NotFound if the file is no longer where it was locked: its folder was removed, moved or unmounted, or the file was
  // replaced. The lock is then still held but keeps nobody out.
  absl::Status CheckInPlace() const;

  FileLock(FileLock&& other) noexcept : path_(std::move(other.path_)), fd_(other.fd_) { other.fd_ = -1; }
  FileLock& operator=(FileLock&& other) noexcept;
  ~FileLock();

 private:
  FileLock(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_;
};

}  // namespace prunelab
