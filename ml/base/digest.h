// Digests: SHA-256 for identities, and CRC32C for records (the one that TensorBoard uses). Libraries compute both.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace prunelab {

// 64 lower-case hexadecimal digits.
std::string Sha256(absl::string_view bytes);

// The same of bytes that come in pieces.
class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;
  void Add(absl::string_view bytes);
  std::string Finish();  // once; nothing can be added after it

 private:
  struct State;
  std::unique_ptr<State> state_;
};

uint32_t Crc32c(absl::string_view bytes);

}  // namespace prunelab
