// Files and paths. Every file appears whole: written to a temporary beside it, synced, renamed, its folder synced.
// Errors name the path, the system's reason, and a remedy; NotFound leaves the remedy to the caller, who knows what
// should be there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// A path as a person typed it: "~" expanded, relative ones taken from the folder in which the command was typed
// (BUILD_WORKING_DIRECTORY under `bazel run`, else the current folder). "" stays "".
std::string UserPath(absl::string_view path);

// The folder from which UserPath takes relative paths, as an absolute path.
std::string UserFolder();

// NotFound, for a person who typed `path`: "w.safetensors: no such file in /home/me; relative paths are taken from
// there". Of an absolute path the folder says nothing new and is left out.
absl::Status NoSuchFile(absl::string_view path);

std::string JoinPath(absl::string_view folder, absl::string_view name);
bool PathExists(const std::string& path);
bool IsFolder(const std::string& path);

// The whole file. NotFound if there is none; ResourceExhausted if it is larger than `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes = uint64_t{1} << 32);

absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents);

// Removes what killed writers left in the folder: the temporaries of WriteFileAtomically. For the folder's only owner.
absl::Status RemoveTemporaries(const std::string& folder);

// Appends `line` and a newline in one write, then syncs.
absl::Status AppendLine(const std::string& path, absl::string_view line);

// Makes the folder and its parents.
absl::Status CreateFolders(const std::string& path);

// OK if `path` is a folder that can be written, or could be made: nothing is created. For refusing a config early.
absl::Status CheckFolderCanBeWritten(const std::string& path);

// Names in a folder, sorted, without "." and "..".
absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path);

}  // namespace prunelab
