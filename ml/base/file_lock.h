// A lock that a process holds on a file and that dies with it, over NFS too (fcntl record locks): one owner of a
// folder.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const FileLock lock, FileLock::Take(JoinPath(output, ".lock"),
//   FileLock::Kind::kExclusive));
//
// The file is made where it is missing and never removed (who removed it could not know that nobody else has just
// opened it). It holds the owner's host and process number, for the message to the one who comes second. As the system
// has it, such locks know processes, not threads, and a process must not open the file again by other means.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace prunelab {

class FileLock {
 public:
  enum class Kind {
    kShared,     // any number of them at once
    kExclusive,  // one, and no shared ones
  };

  // Does not wait. FailedPrecondition with the owner's name if the lock is held; the file system's errors.
  static absl::StatusOr<FileLock> Take(const std::string& path, Kind kind);

  // NotFound if the file no longer stands where it was taken: its folder was removed, moved or unmounted, or the file
  // replaced. The lock is held then, but keeps nobody out.
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
