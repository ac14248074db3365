// Bytes of tensors that an ONNX file keeps in files beside itself.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace prunelab {

// Where a tensor's bytes lie.
struct ExternalPlace {
  std::string location;  // relative to the folder of the ONNX file
  int64_t offset = 0;
  int64_t length = -1;  // -1: to the end of the file
};

// The bytes; there must be `expected` of them. `folder` is the ONNX file's; "" has no files. Refused, and nothing is
// read: a location that is absolute or leads out of the folder, also by a symbolic link; what is no regular file; a
// part beyond the file's end or of another length.
absl::StatusOr<std::string> ReadExternal(const std::string& folder, const ExternalPlace& place, int64_t expected);

}  // namespace prunelab
