#include "ml/base/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr char kTemporary[] = ".tmp.";  // between a file's name and its writer's number

// The digits by which this process names its temporaries. Its number alone would not do: machines that share a folder
// give the same ones, containers nearly always.
std::string WriterNumber() {
  static const uint64_t random = [] {
    uint64_t number = 0;
    return getrandom(&number, sizeof(number), 0) == sizeof(number) ? number : 0;
  }();
  return absl::StrCat(getpid(), random);
}

// The system's reason with a remedy, under the status code that fits.
absl::Status SystemError(absl::string_view what, absl::string_view path, int error) {
  const std::string text = absl::StrCat(path, ": cannot ", what, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(text);  // the caller knows what should be there
    case ENOTDIR:
      return absl::InvalidArgumentError(absl::StrCat(text, "; a part of the path is a file where a folder should be"));
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(absl::StrCat(text, "; check who may write there, or choose another place"));
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(absl::StrCat(text, "; make room and run the same command again"));
    default:
      return absl::InternalError(text);
  }
}

std::string Folder(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status WriteAll(int fd, absl::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return SystemError("write", path, errno);
    }
    bytes.remove_prefix(n);
  }
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError("open the folder", folder, errno);
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  // Some file systems cannot sync a folder; the rename itself is then all there is.
  if (result != 0 && error != EINVAL) return SystemError("sync the folder", folder, error);
  return absl::OkStatus();
}

}  // namespace

std::string UserPath(absl::string_view path) {
  if (path.empty()) return "";
  if (path == "~" || absl::StartsWith(path, "~/")) {
    const char* home = std::getenv("HOME");
    if (home != nullptr) return absl::StrCat(home, path.substr(1));
  }
  if (path[0] == '/') return std::string(path);
  const char* typed_in = std::getenv("BUILD_WORKING_DIRECTORY");
  return typed_in == nullptr ? std::string(path) : JoinPath(typed_in, path);
}

std::string JoinPath(absl::string_view folder, absl::string_view name) {
  if (folder.empty()) return std::string(name);
  return absl::StrCat(absl::StripSuffix(folder, "/"), "/", name);
}

bool PathExists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

bool IsFolder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError("read", path, errno);
  struct stat info = {};
  if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a folder, not a file"));
  }
  std::string contents;
  if (info.st_size > 0 && static_cast<uint64_t>(info.st_size) <= max_bytes) contents.reserve(info.st_size);
  std::string buffer(1 << 20, '\0');
  for (;;) {
    const ssize_t n = read(fd, &buffer[0], buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      close(fd);
      return SystemError("read", path, error);
    }
    if (n == 0) break;
    contents.append(buffer, 0, n);
    if (contents.size() > max_bytes) {
      close(fd);
      return absl::ResourceExhaustedError(
          absl::StrCat(path, ": is larger than the ", max_bytes, " bytes expected here"));
    }
  }
  close(fd);
  return contents;
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents) {
  const std::string temporary = absl::StrCat(path, kTemporary, WriterNumber());
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return SystemError("create", temporary, errno);
  absl::Status status = WriteAll(fd, contents, temporary);
  if (status.ok() && fsync(fd) != 0) status = SystemError("sync", temporary, errno);
  if (close(fd) != 0 && status.ok()) status = SystemError("close", temporary, errno);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0)
    status = SystemError("rename a file to", path, errno);
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncFolder(Folder(path));
}

absl::Status RemoveTemporaries(const std::string& folder) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
  for (const std::string& name : names) {
    const size_t at = name.rfind(kTemporary);
    if (at == std::string::npos || at == 0) continue;
    const std::string writer = name.substr(at + sizeof(kTemporary) - 1);
    if (writer.empty() || writer.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string path = JoinPath(folder, name);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return SystemError("remove", path, errno);
  }
  return absl::OkStatus();
}

absl::Status AppendLine(const std::string& path, absl::string_view line) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return SystemError("open", path, errno);
  struct stat info = {};
  const bool is_new = fstat(fd, &info) == 0 && info.st_size == 0;
  absl::Status status = WriteAll(fd, absl::StrCat(line, "\n"), path);
  if (status.ok() && fsync(fd) != 0) status = SystemError("sync", path, errno);
  if (close(fd) != 0 && status.ok()) status = SystemError("close", path, errno);
  if (status.ok() && is_new) status = SyncFolder(Folder(path));
  return status;
}

absl::Status CreateFolders(const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  for (size_t end = 1; end <= path.size(); ++end) {
    if (end != path.size() && path[end] != '/') continue;
    const std::string part = path.substr(0, end);
    if (mkdir(part.c_str(), 0777) == 0) {
      // Else a power cut could take it away with what is in it. A folder may allow this, but not to be read.
      const absl::Status synced = SyncFolder(Folder(part));
      if (!synced.ok() && !absl::IsPermissionDenied(synced)) return synced;
    } else if (errno != EEXIST) {
      return SystemError("make the folder", part, errno);
    }
  }
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return SystemError("look at", path, errno);
  if (!S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a file where a folder should be; choose another place"));
  }
  return absl::OkStatus();
}

absl::Status CheckFolderCanBeWritten(const std::string& path) {
  std::string existing = path.empty() ? "." : path;
  struct stat info;
  while (stat(existing.c_str(), &info) != 0) {
    if (errno == ENOTDIR) {
      existing = Folder(existing);
      continue;
    }
    if (errno != ENOENT) return SystemError("look at", existing, errno);
    if (lstat(existing.c_str(), &info) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": cannot be made, since ", existing, " is a link to nothing; choose another place"));
    }
    const std::string parent = Folder(existing);
    if (parent == existing) return SystemError("look at", existing, ENOENT);
    existing = parent;
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": cannot be a folder, since ", existing, " is a file; choose another place"));
  }
  if (access(existing.c_str(), W_OK | X_OK) != 0) return SystemError("write to the folder", existing, errno);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path) {
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr) return SystemError("list the folder", path, errno);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(folder);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace prunelab
