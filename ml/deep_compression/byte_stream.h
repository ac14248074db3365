// Bytes of a .pdc file (deep_compressed.h), written and read one after the other: little-endian numbers, and variable
// length numbers of seven bits a byte, the lowest first, with the eighth bit set in all bytes but the last (LEB128).
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace prunelab {

class ByteWriter {
 public:
  void Fixed(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bytes_.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
  }
  void Number(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>((value & 0x7F) | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  void Bytes(absl::string_view bytes) { bytes_.append(bytes.data(), bytes.size()); }
  // A text and its length before it.
  void Text(absl::string_view text) {
    Number(text.size());
    Bytes(text);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// After a read past the end, or of a number that is no canonical variable length number of 64 bits, every read gives
// nothing, and ok() is false.
class ByteReader {
 public:
  explicit ByteReader(absl::string_view bytes) : bytes_(bytes) {}

  uint64_t Fixed(int bytes) {
    const absl::string_view read = Bytes(static_cast<uint64_t>(bytes));
    uint64_t value = 0;
    for (size_t i = 0; i < read.size(); ++i) value |= uint64_t{static_cast<unsigned char>(read[i])} << (8 * i);
    return value;
  }
  uint64_t Number() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint64_t byte = Fixed(1);
      if (shift == 63 && byte > 1) break;
      value |= (byte & 0x7F) << shift;
      if ((byte & 0x80) != 0) continue;
      if (byte == 0 && shift > 0) break;  // a zero more than the number needs
      return ok_ ? value : 0;
    }
    ok_ = false;
    return 0;
  }
  absl::string_view Bytes(uint64_t count) {
    if (!ok_ || count > bytes_.size() - at_) {
      ok_ = false;
      return {};
    }
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }
  absl::string_view Text() { return Bytes(Number()); }
  // What was not read yet.
  absl::string_view Rest() const { return ok_ ? bytes_.substr(at_) : absl::string_view(); }
  bool ok() const { return ok_; }

 private:
  absl::string_view bytes_;
  uint64_t at_ = 0;
  bool ok_ = true;
};

}  // namespace prunelab
