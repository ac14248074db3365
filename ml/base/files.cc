#include "ml/base/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/sha.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "ml/base/output_guard.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

// A temporary file is called NAME.tmp.RANDOM16CHECKSUM16, in hexadecimal digits.
constexpr char kTemporary[] = ".tmp.";
constexpr size_t kHalfDigits = 16;

// The system's reason with a remedy, under the status code that fits.
absl::Status SystemError(absl::string_view what, absl::string_view path, int error) {
  const std::string text = absl::StrCat(path, ": cannot ", what, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(text);  // the caller knows what should be there and adds the remedy
    case ENOTDIR:
      return absl::InvalidArgumentError(absl::StrCat(text, "; a part of the path is a file where a folder should be"));
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(absl::StrCat(text, "; check who may write there, or choose another place"));
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(absl::StrCat(text, "; make room and run the same command again"));
    case EFBIG:
      return absl::ResourceExhaustedError(absl::StrCat(
          text,
          "; files may not grow larger here (see ulimit -f): raise the limit, or make room and run the same "
          "command again"));
    case ELOOP:
      return absl::InvalidArgumentError(absl::StrCat(text, "; its links form a circle: remove or repair them"));
    case ENAMETOOLONG:
      return absl::InvalidArgumentError(absl::StrCat(text, "; choose a shorter name"));
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
  // Some file systems cannot sync a folder; then the rename itself has to be enough.
  if (result != 0 && error != EINVAL) return SystemError("sync the folder", folder, error);
  return absl::OkStatus();
}

std::string BaseName(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

// The home folder of a user, or of the current user if `user` is ""; "" if there is none.
std::string HomeOf(const std::string& user) {
  const char* home = user.empty() ? std::getenv("HOME") : nullptr;
  if (home != nullptr && *home != '\0') return home;
  struct passwd entry = {}, *found = nullptr;
  std::string buffer(1 << 14, '\0');
  const int error = user.empty() ? getpwuid_r(geteuid(), &entry, &buffer[0], buffer.size(), &found)
                                 : getpwnam_r(user.c_str(), &entry, &buffer[0], buffer.size(), &found);
  return error == 0 && found != nullptr && found->pw_dir != nullptr ? found->pw_dir : "";
}

// ---------------------------------------------------------------------------------------------------------------------
// Which file a path means

bool IsOneFile(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

// Follows the links that the last part of a path may be, and returns where they end; a path that is not a link is
// returned unchanged. The end may be missing. Links in the folders above are left to the system.
absl::StatusOr<std::string> FollowLinks(const std::string& path) {
  constexpr int kMostLinks = 40;  // the system's own limit
  std::string target = path;
  for (int links = 0; links <= kMostLinks; ++links) {
    char text[PATH_MAX];
    const ssize_t size = readlink(target.c_str(), text, sizeof(text));
    if (size < 0) {
      if (errno == EINVAL || errno == ENOENT) return target;  // not a link, or nothing there
      return SystemError("follow the links of", path, errno);
    }
    const std::string link(text, size);
    target = link[0] == '/' || target.find('/') == std::string::npos ? link : JoinPath(Folder(target), link);
  }
  return SystemError("follow the links of", path, ELOOP);
}

// Identifies a file. If it exists: device and inode, with an empty name. Else: those of the folder in which it would
// appear, and its name there. If that folder is missing too: the text of the path.
using Identity = std::tuple<dev_t, ino_t, std::string>;

Identity IdentityOf(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0) return {info.st_dev, info.st_ino, ""};
  const std::string target = FollowLinks(path).value_or(path);
  if (stat(Folder(target).c_str(), &info) == 0) return {info.st_dev, info.st_ino, BaseName(target)};
  return {0, 0, target};
}

struct ReadFiles {
  std::mutex mutex;
  bool kept = false;
  std::set<std::pair<dev_t, ino_t>> files;
};

ReadFiles& FilesThatWereRead() {
  static ReadFiles* files = new ReadFiles;
  return *files;
}

void NoteReadFile(const struct stat& info) {
  ReadFiles& read = FilesThatWereRead();
  const std::lock_guard<std::mutex> lock(read.mutex);
  if (read.kept && S_ISREG(info.st_mode)) read.files.emplace(info.st_dev, info.st_ino);
}

bool WasRead(const struct stat& info) {
  ReadFiles& read = FilesThatWereRead();
  const std::lock_guard<std::mutex> lock(read.mutex);
  return read.files.count({info.st_dev, info.st_ino}) > 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// Writing

// What lies at the end of a path that will be written.
struct Target {
  std::string path;        // after following all links
  bool exists = false;     // a regular file exists; see `info`
  bool is_stream = false;  // cannot be replaced by renaming: a terminal, a pipe, a file without a name
  struct stat info = {};
};

absl::StatusOr<Target> FindTarget(const std::string& path) {
  const auto refuse = [&](const char* what) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is ", what, ", but a file is to be written there; choose another name"));
  };
  if (path.empty() || path.back() == '/') return refuse("the name of a folder");
  Target target;
  if (stat(path.c_str(), &target.info) != 0) {
    if (errno != ENOENT) return SystemError("write", path, errno);
    PRUNELAB_ASSIGN_OR_RETURN(target.path, FollowLinks(path));
    return target;
  }
  const mode_t mode = target.info.st_mode;
  if (S_ISDIR(mode)) return refuse("a folder");
  if (S_ISBLK(mode)) return refuse("a disk");
  if (S_ISSOCK(mode)) return refuse("a socket");
  if (faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) return SystemError("write", path, errno);
  target.path = path;
  target.is_stream = !S_ISREG(mode);
  if (target.is_stream) return target;
  target.exists = true;
  PRUNELAB_ASSIGN_OR_RETURN(target.path, FollowLinks(path));
  // A link in /proc may lead to a file whose name is gone or belongs to another file by now.
  struct stat found = {};
  target.is_stream = stat(target.path.c_str(), &found) != 0 || !IsOneFile(found, target.info);
  return target;
}

absl::Status WriteIntoStream(const std::string& path, absl::string_view contents) {
  // Opening a pipe that nobody reads would block forever.
  const int fd = open(path.c_str(), O_WRONLY | O_TRUNC | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 && errno == ENXIO) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": is a pipe that nobody reads; start its reader first, or choose another name"));
  }
  if (fd < 0) return SystemError("write", path, errno);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  absl::Status status = WriteAll(fd, contents, path);
  if (close(fd) != 0 && status.ok()) status = SystemError("close", path, errno);
  return status;
}

std::string TemporaryChecksum(absl::string_view begin) {
  const std::string text = absl::StrCat("prunelab's temporary file ", begin);
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  const absl::string_view bytes(reinterpret_cast<const char*>(digest), kHalfDigits / 2);
  return absl::BytesToHexString(bytes);
}

// A name for a temporary file for `name`. It keeps as much of `name` as fits into `name_max` bytes. It is random
// because processes on several machines may write the same file.
std::string TemporaryName(std::string name, size_t name_max) {
  uint64_t random = 0;
  if (getrandom(&random, sizeof(random), 0) != sizeof(random)) random = static_cast<uint64_t>(getpid());
  const size_t added = sizeof(kTemporary) - 1 + 2 * kHalfDigits;
  size_t kept = std::min(name.size(), name_max - std::min(name_max, added));
  // Do not cut within a UTF-8 character, which some file systems would refuse.
  while (kept < name.size() && kept > 1 && (static_cast<unsigned char>(name[kept]) & 0xC0) == 0x80) --kept;
  const std::string begin = absl::StrCat(name.substr(0, kept), kTemporary, absl::Hex(random, absl::kZeroPad16));
  return absl::StrCat(begin, TemporaryChecksum(begin));
}

bool IsTemporaryName(const std::string& name) {
  const size_t at = name.rfind(kTemporary);
  if (at == std::string::npos || at == 0 || name.size() - at != sizeof(kTemporary) - 1 + 2 * kHalfDigits) return false;
  const size_t end = name.size() - kHalfDigits;
  return name.substr(end) == TemporaryChecksum(name.substr(0, end));
}

// Creates and locks a temporary file next to `path`. The lock ends with its process and until then keeps
// RemoveTemporaries away.
absl::StatusOr<int> MakeTemporary(const std::string& path, mode_t mode, std::string* temporary) {
  const std::string folder = Folder(path);
  const long name_max = pathconf(folder.c_str(), _PC_NAME_MAX);
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::string name = TemporaryName(BaseName(path), name_max > 0 ? name_max : NAME_MAX);
    *temporary = path.find('/') == std::string::npos ? name : JoinPath(folder, name);
    const int fd = open(temporary->c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0 && errno == EEXIST) continue;
    // The error is about the folder, or about the file's own name if that may be too long.
    if (fd < 0) return SystemError("create", path, errno);
    const bool taken = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    struct stat info = {};
    if (!taken && !(fstat(fd, &info) == 0 && info.st_nlink == 0)) return fd;
    close(fd);  // another process removed it before it was locked
  }
  return absl::InternalError(absl::StrCat(path, ": no temporary file can be created next to it"));
}

// Gives a new file the owner, group and mode of the file that it replaces, as far as the system allows.
void TakeOver(const struct stat& old, int fd) {
  struct stat own = {};
  if (fstat(fd, &own) != 0) return;
  mode_t mode = old.st_mode & 07777;
  if (own.st_uid != old.st_uid || own.st_gid != old.st_gid) {
    const bool all = fchown(fd, old.st_uid, old.st_gid) == 0;
    if (!all && fchown(fd, -1, old.st_gid) != 0) errno = 0;
    if (!all) mode &= 01777;  // no set-user-ID or set-group-ID of another owner
  }
  if (fchmod(fd, mode) != 0) errno = 0;  // e.g. on file systems without modes
}

}  // namespace

std::string UserPath(absl::string_view path) {
  if (path.empty()) return "";
  if (path[0] == '~') {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string home = HomeOf(std::string(path.substr(1, slash - 1)));
    if (!home.empty()) return slash == path.size() ? home : JoinPath(home, path.substr(slash + 1));
  }
  if (path[0] == '/') return std::string(path);
  const char* typed_in = std::getenv("BUILD_WORKING_DIRECTORY");
  return typed_in == nullptr ? std::string(path) : JoinPath(typed_in, path);
}

std::string UserFolder() {
  if (const char* typed_in = std::getenv("BUILD_WORKING_DIRECTORY")) return typed_in;
  std::string folder(PATH_MAX, '\0');
  return getcwd(&folder[0], folder.size()) == nullptr ? "." : std::string(folder.c_str());
}

absl::Status NoSuchFile(absl::string_view path) {
  if (absl::StartsWith(path, "/") || absl::StartsWith(path, "~/")) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  }
  return absl::NotFoundError(
      absl::StrCat(path, ": no such file in ", UserFolder(), "; relative paths are taken from there"));
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

bool SameFile(const std::string& a, const std::string& b) { return IdentityOf(a) == IdentityOf(b); }

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError("read", path, errno);
  struct stat info = {};
  if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a folder, not a file"));
  }
  NoteReadFile(info);
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

absl::StatusOr<std::string> ReadFilePart(const std::string& path, uint64_t offset, uint64_t bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError("read", path, errno);
  struct stat info = {};
  if (fstat(fd, &info) == 0) NoteReadFile(info);
  // No more is allocated than the file has.
  const uint64_t there = static_cast<uint64_t>(std::max<off_t>(0, info.st_size));
  if (offset > there || bytes > there - offset) {
    close(fd);
    return absl::OutOfRangeError(absl::StrCat(path, ": has ", there, " bytes, but bytes ", offset, " to ",
                                              offset + bytes, " are wanted; it has been changed or cut off"));
  }
  std::string contents(bytes, '\0');
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t n = pread(fd, &contents[done], bytes - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int error = n < 0 ? errno : EIO;  // it has become shorter meanwhile
      close(fd);
      return SystemError("read", path, error);
    }
    done += static_cast<uint64_t>(n);
  }
  close(fd);
  return contents;
}

std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute =
      std::filesystem::weakly_canonical(std::filesystem::absolute(path, error), error);
  return error ? path : absolute.string();
}

absl::StatusOr<FileStamp> StampOf(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return SystemError("read", path, errno);
  return FileStamp{static_cast<uint64_t>(info.st_size),
                   static_cast<int64_t>(info.st_mtim.tv_sec) * 1000000000 + info.st_mtim.tv_nsec};
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents) {
  PRUNELAB_ASSIGN_OR_RETURN(const Target target, FindTarget(path));
  if (target.exists && WasRead(target.info)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": is a file that was read, and writing would destroy it; choose another name"));
  }
  if (target.is_stream) return WriteIntoStream(path, contents);
  // A file that others may not read must not be readable while it is being written.
  std::string temporary;
  PRUNELAB_ASSIGN_OR_RETURN(const int fd, MakeTemporary(target.path, target.exists ? 0600 : 0666, &temporary));
  absl::Status status = WriteAll(fd, contents, path);
  if (status.ok() && target.exists) TakeOver(target.info, fd);
  if (status.ok() && fsync(fd) != 0) status = SystemError("sync", path, errno);
  if (status.ok() && rename(temporary.c_str(), target.path.c_str()) != 0) {
    status = SystemError("rename a file to", target.path, errno);
  }
  if (!status.ok()) unlink(temporary.c_str());
  close(fd);  // which releases the lock
  return status.ok() ? SyncFolder(Folder(target.path)) : status;
}

absl::Status RemoveTemporaries(const std::string& folder) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
  for (const std::string& name : names) {
    if (!IsTemporaryName(name)) continue;
    const std::string path = JoinPath(folder, name);
    constexpr int kFlags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = open(path.c_str(), O_RDWR | kFlags);  // over NFS a lock needs the right to write
    if (fd < 0 && errno == EACCES) fd = open(path.c_str(), O_RDONLY | kFlags);
    if (fd < 0) continue;
    struct stat info = {};
    const bool written_now = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    const bool ours = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && !written_now;
    const int error = ours && unlink(path.c_str()) != 0 ? errno : 0;
    close(fd);
    if (error != 0 && error != ENOENT) return SystemError("remove", path, error);
  }
  return absl::OkStatus();
}

absl::Status CheckOutputs(const std::vector<PathFlag>& inputs, const std::vector<PathFlag>& outputs) {
  const auto same = [](const PathFlag& a, const PathFlag& b) {
    return !a.path.empty() && !b.path.empty() && SameFile(UserPath(a.path), UserPath(b.path));
  };
  for (size_t i = 0; i < outputs.size(); ++i) {
    const PathFlag& output = outputs[i];
    if (output.path.empty()) continue;
    const auto refuse = [&](auto... text) {
      return absl::InvalidArgumentError(absl::StrCat(output.flag, "=", output.path, ": ", text...));
    };
    for (const PathFlag& input : inputs) {
      if (!same(output, input)) continue;
      return refuse("is the file that ", input.flag, "=", input.path,
                    " names, which is an input; choose another name for the output");
    }
    for (size_t j = 0; j < i; ++j) {
      if (!same(output, outputs[j])) continue;
      return refuse("is the file that ", outputs[j].flag, "=", outputs[j].path,
                    " names too; give each a file of its own");
    }
    const std::string path = UserPath(output.path);
    const absl::StatusOr<Target> target = FindTarget(path);
    if (!target.ok())
      return absl::Status(target.status().code(), absl::StrCat(output.flag, ": ", target.status().message()));
    struct stat messages = {};
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      if ((target->exists || S_ISFIFO(target->info.st_mode)) && fstat(fd, &messages) == 0 &&
          IsOneFile(messages, target->info)) {
        return refuse("is where this program's messages go; choose a file that is not");
      }
    }
    const std::string folder = Folder(target->path);
    if (!target->is_stream && !IsFolder(folder)) {
      return absl::NotFoundError(absl::StrCat(output.flag, "=", output.path, ": there is no folder ", folder,
                                              "; create it first, e.g. with mkdir -p, or choose another place"));
    }
  }
  return absl::OkStatus();
}

void ProtectWhatIsRead() {
  ReadFiles& read = FilesThatWereRead();
  const std::lock_guard<std::mutex> lock(read.mutex);
  read.kept = true;
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
      // Otherwise a power cut could remove it with its contents. Some folders can be synced even if they cannot be
      // read.
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
      return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be created, because ", existing,
                                                     " is a link to a missing file; choose another place"));
    }
    const std::string parent = Folder(existing);
    if (parent == existing) return SystemError("look at", existing, ENOENT);
    existing = parent;
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": cannot be a folder, because ", existing, " is a file; choose another place"));
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
