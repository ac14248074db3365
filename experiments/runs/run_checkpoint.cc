#include "experiments/runs/run_checkpoint.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "ml/base/check.h"
#include "ml/base/digest.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr char kFile[] = "checkpoint.safetensors", kPrevious[] = "checkpoint.previous.safetensors";
constexpr char kRunId[] = "run_id", kRecords[] = "records", kChecksum[] = "crc32c";
// In the header's JSON; within a value the quotes would be escaped.
constexpr char kChecksumText[] = "\"crc32c\":\"";
constexpr char kNoChecksum[] = "00000000";  // what is there while the checksum is computed
constexpr size_t kChecksumDigits = sizeof(kNoChecksum) - 1;

// The position of the checksum's digits, or npos.
size_t ChecksumPlace(const std::string& bytes) {
  const size_t at = bytes.find(kChecksumText);
  if (at == std::string::npos || at + sizeof(kChecksumText) - 1 + kChecksumDigits > bytes.size()) {
    return std::string::npos;
  }
  return at + sizeof(kChecksumText) - 1;
}

absl::StatusOr<RunCheckpoint> ReadOne(const std::string& path) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, uint64_t{1} << 36));
  return ParseRunCheckpoint(bytes, path);
}

}  // namespace

std::string SerializeRunCheckpoint(RunCheckpoint checkpoint) {
  Safetensors file = std::move(checkpoint.state);
  file.metadata[kRunId] = checkpoint.run_id;
  file.metadata[kRecords] = absl::StrJoin(checkpoint.records, "\n");
  file.metadata[kChecksum] = kNoChecksum;
  std::string bytes = SerializeSafetensors(file);
  const size_t place = ChecksumPlace(bytes);
  PRUNELAB_CHECK(place != std::string::npos) << "no checksum in the header";
  bytes.replace(place, kChecksumDigits, absl::StrFormat("%08x", Crc32c(bytes)));
  return bytes;
}

absl::StatusOr<RunCheckpoint> ParseRunCheckpoint(const std::string& bytes, const std::string& name) {
  const size_t place = ChecksumPlace(bytes);
  if (place == std::string::npos) return absl::DataLossError(absl::StrCat(name, ": is no whole checkpoint of a run"));
  std::string without = bytes;
  without.replace(place, kChecksumDigits, kNoChecksum);
  if (absl::StrFormat("%08x", Crc32c(without)) != bytes.substr(place, kChecksumDigits)) {
    return absl::DataLossError(absl::StrCat(name, ": its checksum does not hold: it was damaged or changed"));
  }
  RunCheckpoint checkpoint;
  PRUNELAB_ASSIGN_OR_RETURN(checkpoint.state, ParseSafetensors(bytes, name));
  std::map<std::string, std::string>& metadata = checkpoint.state.metadata;
  checkpoint.run_id = metadata[kRunId];
  checkpoint.records = absl::StrSplit(metadata[kRecords], '\n', absl::SkipEmpty());
  for (const char* key : {kRunId, kRecords, kChecksum}) metadata.erase(key);
  return checkpoint;
}

absl::Status WriteRunCheckpoint(const std::string& folder, RunCheckpoint checkpoint) {
  const std::string path = JoinPath(folder, kFile), previous = JoinPath(folder, kPrevious);
  const std::string bytes = SerializeRunCheckpoint(std::move(checkpoint));
  if (PathExists(path) && std::rename(path.c_str(), previous.c_str()) != 0) {
    return absl::InternalError(absl::StrCat(path, ": cannot be renamed: ", std::strerror(errno)));
  }
  return WriteFileAtomically(path, bytes);
}

std::optional<RunCheckpoint> FindRunState(const std::string& folder, const std::string& run_id, std::string& damage) {
  for (const std::string name : {kStateFile, kFile, kPrevious}) {
    const std::string path = JoinPath(folder, name);
    if (!PathExists(path)) continue;
    absl::StatusOr<RunCheckpoint> checkpoint = ReadOne(path);
    if (!checkpoint.ok()) {
      if (damage.empty()) damage = std::string(checkpoint.status().message());
    } else if (run_id.empty() || checkpoint->run_id == run_id) {
      return *std::move(checkpoint);
    }
  }
  return std::nullopt;
}

std::optional<RunCheckpoint> ReadRunCheckpoint(const std::string& folder, const std::string& run_id,
                                               std::vector<std::string>& warnings) {
  for (const std::string name : {kFile, kPrevious}) {
    const std::string path = JoinPath(folder, name);
    if (!PathExists(path)) continue;
    absl::StatusOr<RunCheckpoint> checkpoint = ReadOne(path);
    if (!checkpoint.ok()) {
      warnings.push_back(absl::StrCat(checkpoint.status().message(), "; it is passed over"));
    } else if (checkpoint->run_id != run_id) {
      warnings.push_back(absl::StrCat(path, ": is of another run (", checkpoint->run_id, "); it is passed over"));
    } else {
      // If it cannot be renamed, it cannot be replaced, either.
      if (name == kPrevious) std::rename(path.c_str(), JoinPath(folder, kFile).c_str());
      return *std::move(checkpoint);
    }
  }
  return std::nullopt;
}

absl::Status SettleRunCheckpoints(const std::string& folder, bool keep) {
  const std::string last = JoinPath(folder, kFile), state = JoinPath(folder, kStateFile);
  if (keep && std::rename(last.c_str(), state.c_str()) != 0 && errno != ENOENT) {
    return absl::InternalError(absl::StrCat(last, ": cannot be renamed to ", state, ": ", std::strerror(errno)));
  }
  for (const char* name : {kFile, kPrevious}) {
    const std::string path = JoinPath(folder, name);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
      return absl::PermissionDeniedError(absl::StrCat(path, ": cannot be removed: ", std::strerror(errno)));
    }
  }
  return absl::OkStatus();
}

}  // namespace prunelab
