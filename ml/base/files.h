// Files and paths. Every file appears whole: it is written to a temporary file in the same folder, synced and renamed,
// and then the folder is synced. Errors name the path, the system's reason and a remedy. NotFound leaves the remedy to
// the caller, who knows what should be there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// A path as a person typed it: "~" is expanded, and relative paths start from the folder in which the command was typed
// (BUILD_WORKING_DIRECTORY under `bazel run`, else the current folder). "" stays "".
std::string UserPath(absl::string_view path);

// The folder from which UserPath resolves relative paths, as an absolute path.
std::string UserFolder();

// NotFound, for a person who typed `path`: "w.safetensors: no such file in /home/me; relative paths are taken from
// there". For an absolute path the folder would add nothing, so it is left out.
absl::Status NoSuchFile(absl::string_view path);

// The path from the root, with links followed where it exists.
std::string AbsolutePath(const std::string& path);

std::string JoinPath(absl::string_view folder, absl::string_view name);
bool PathExists(const std::string& path);
bool IsFolder(const std::string& path);

// The whole file. NotFound if there is none; ResourceExhausted if it is larger than `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes = uint64_t{1} << 32);

// `bytes` bytes of the file from `offset` on. OutOfRange if it ends before them.
absl::StatusOr<std::string> ReadFilePart(const std::string& path, uint64_t offset, uint64_t bytes);

// What changes when a file's content does.
struct FileStamp {
  uint64_t size = 0;    // bytes
  int64_t changed = 0;  // time of the last change of the content, in nanoseconds since 1970
  bool operator==(const FileStamp& other) const { return size == other.size && changed == other.changed; }
};
absl::StatusOr<FileStamp> StampOf(const std::string& path);

absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents);

// Removes the temporary files that killed calls of WriteFileAtomically left in the folder. Only the owner of the folder
// may call it.
absl::Status RemoveTemporaries(const std::string& folder);

// Appends `line` and a newline in one write, then syncs.
absl::Status AppendLine(const std::string& path, absl::string_view line);

// Creates the folder and its parents.
absl::Status CreateFolders(const std::string& path);

// OK if `path` is a folder that can be written to, or could be created; nothing is created. Use it to refuse a config
// early.
absl::Status CheckFolderCanBeWritten(const std::string& path);

// Names in a folder, sorted, without "." and "..".
absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path);

}  // namespace prunelab
