// Digests: SHA-256 for identities, and CRC32C for records (the one that TensorBoard uses). Libraries compute both.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace prunelab {

// 64 lower-case hexadecimal digits.
std::string Sha256(absl::string_view bytes);

uint32_t Crc32c(absl::string_view bytes);

}  // namespace prunelab
