#include "ml/onnx/external_data.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/graph.h"

namespace prunelab {
namespace {

// The path without symbolic links; "" if there is no such file.
std::string RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&free)> real(realpath(path.c_str(), nullptr), &free);
  return real == nullptr ? "" : std::string(real.get());
}

// The path of a location inside the folder.
absl::StatusOr<std::string> PathInside(const std::string& folder, const std::string& location) {
  const std::string external = absl::StrCat("external data ", Quoted(location));
  if (location.empty() || location.find('\0') != std::string::npos || location.size() > 4096) {
    return absl::InvalidArgumentError(absl::StrCat(external, ": must be the name of a file beside the .onnx file"));
  }
  const std::vector<std::string> parts = absl::StrSplit(location, absl::ByAnyChar("/\\"));
  for (const std::string& part : parts) {
    if (part == ".." || location[0] == '/') {
      return absl::InvalidArgumentError(
          absl::StrCat(external, ": leads out of the folder of the .onnx file; must be a file inside it"));
    }
  }
  const std::string path = RealPath(JoinPath(folder, location)), real_folder = RealPath(folder);
  if (path.empty()) {
    return absl::NotFoundError(absl::StrCat(external, ": is not in ", folder,
                                            "; the .onnx file needs it there, as PyTorch's exporter wrote them"));
  }
  if (!absl::StartsWith(path, real_folder == "/" ? "/" : absl::StrCat(real_folder, "/"))) {
    return absl::InvalidArgumentError(
        absl::StrCat(external, ": is a symbolic link out of the folder of the .onnx file; copy the file itself there"));
  }
  return path;
}

class File {
 public:
  explicit File(const std::string& path) : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

absl::StatusOr<std::string> ReadPart(int descriptor, int64_t offset, int64_t length) {
  std::string bytes(static_cast<size_t>(length), '\0');
  int64_t done = 0;
  while (done < length) {
    const ssize_t got = pread(descriptor, &bytes[static_cast<size_t>(done)], static_cast<size_t>(length - done),
                              static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return absl::DataLossError(absl::StrCat("cannot be read: ", got < 0 ? strerror(errno) : "it ends"));
    done += got;
  }
  return bytes;
}

}  // namespace

absl::StatusOr<std::string> ReadExternal(const std::string& folder, const ExternalPlace& place, int64_t expected) {
  const std::string external = absl::StrCat("external data ", Quoted(place.location));
  if (folder.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(external, ": a model that is no file has no files beside it"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::string path, PathInside(folder, place.location));
  const File file(path);
  struct stat info = {};
  if (file.descriptor() < 0 || fstat(file.descriptor(), &info) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(external, ": cannot be opened: ", strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(external, ": is a folder or a device; must be a file"));
  }
  const int64_t size = info.st_size;
  if (place.offset < 0 || place.offset > size || (place.length >= 0 && place.length > size - place.offset)) {
    return absl::InvalidArgumentError(absl::StrCat(external, ": bytes ", place.offset, " and ", place.length,
                                                   " more are asked for, but the file has ", size));
  }
  const int64_t length = place.length >= 0 ? place.length : size - place.offset;
  if (length != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(external, ": has ", length, " bytes; the tensor's sizes and type need ", expected));
  }
  absl::StatusOr<std::string> bytes = ReadPart(file.descriptor(), place.offset, length);
  if (!bytes.ok()) return absl::Status(bytes.status().code(), absl::StrCat(external, ": ", bytes.status().message()));
  return bytes;
}

}  // namespace prunelab
