#include "ml/data/tar_index.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr uint64_t kBlock = 512;
constexpr uint64_t kMostNameBytes = 1 << 16;  // of a long name, or of a pax header

// A field of a header up to its first zero byte.
absl::string_view Text(absl::string_view header, size_t at, size_t bytes) {
  const absl::string_view field = header.substr(at, bytes);
  return field.substr(0, field.find('\0'));
}

// A number in octal digits, or, with the first bit set, in binary.
std::optional<uint64_t> Number(absl::string_view field) {
  uint64_t value = 0;
  if (static_cast<uint8_t>(field[0]) == 0x80) {
    for (const char c : field.substr(1)) {
      if (value >> 55 != 0) return std::nullopt;
      value = value << 8 | static_cast<uint8_t>(c);
    }
    return value;
  }
  field = field.substr(0, field.find('\0'));
  while (!field.empty() && field.front() == ' ') field.remove_prefix(1);
  while (!field.empty() && field.back() == ' ') field.remove_suffix(1);
  for (const char c : field) {
    if (c < '0' || c > '7' || value >> 60 != 0) return std::nullopt;
    value = value << 3 | static_cast<uint64_t>(c - '0');
  }
  return value;
}

// The sum of the header's bytes, those of the checksum itself taken as blanks.
bool ChecksumHolds(absl::string_view header) {
  constexpr size_t kAt = 148, kBytes = 8;
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    sum += i >= kAt && i < kAt + kBytes ? ' ' : static_cast<uint8_t>(header[i]);
  }
  return Number(header.substr(kAt, kBytes)) == sum;
}

bool IsZero(absl::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; });
}

// What a pax header says about the next file: lines of "LENGTH KEY=VALUE\n", LENGTH with all of the line.
struct PaxFields {
  std::optional<std::string> path;
  std::optional<uint64_t> size;
  bool sparse = false;
};

std::optional<PaxFields> ParsePax(absl::string_view text) {
  PaxFields fields;
  while (!text.empty()) {
    const size_t blank = text.find(' ');
    uint64_t length = 0;
    if (blank == absl::string_view::npos || !absl::SimpleAtoi(text.substr(0, blank), &length) || length <= blank + 1 ||
        length > text.size() || text[length - 1] != '\n') {
      return std::nullopt;
    }
    const absl::string_view entry = text.substr(blank + 1, length - blank - 2);
    text.remove_prefix(length);
    const size_t equals = entry.find('=');
    if (equals == absl::string_view::npos) return std::nullopt;
    const absl::string_view key = entry.substr(0, equals), value = entry.substr(equals + 1);
    if (key == "path") fields.path = std::string(value);
    if (absl::StartsWith(key, "GNU.sparse")) fields.sparse = true;
    if (key != "size") continue;
    uint64_t size = 0;
    if (!absl::SimpleAtoi(value, &size)) return std::nullopt;
    fields.size = size;
  }
  return fields;
}

// Whether bytes begin as those of gzip, bzip2, xz or zstd do.
bool IsCompressed(absl::string_view bytes) {
  constexpr absl::string_view kMagic[] = {"\x1F\x8B", "BZh", "\xFD\x37zXZ", "\x28\xB5\x2F\xFD"};
  return std::any_of(std::begin(kMagic), std::end(kMagic),
                     [&](absl::string_view magic) { return absl::StartsWith(bytes, magic); });
}

}  // namespace

absl::StatusOr<std::vector<TarMember>> ListTar(
    uint64_t size, const std::function<absl::StatusOr<std::string>(uint64_t, uint64_t)>& read) {
  std::vector<TarMember> members;
  std::optional<std::string> long_name;
  PaxFields pax, all;  // of the next file, and of all that follow
  for (uint64_t at = 0; at < size;) {
    const auto refuse = [&](auto... what) {
      return absl::InvalidArgumentError(absl::StrCat("byte ", at, ": ", what...));
    };
    if (size - at < kBlock) return refuse("the archive ends within a header; it is cut off");
    PRUNELAB_ASSIGN_OR_RETURN(const std::string header, read(at, kBlock));
    if (at == 0 && IsCompressed(header)) {
      return absl::InvalidArgumentError(
          "is compressed, and files in it cannot be read in place; pictures are compressed themselves, so unpack it to "
          "a plain .tar");
    }
    if (IsZero(header)) {  // the end
      constexpr uint64_t kPiece = 1 << 16;
      for (uint64_t rest = at + kBlock; rest < size; rest += kPiece) {
        PRUNELAB_ASSIGN_OR_RETURN(const std::string piece, read(rest, std::min(kPiece, size - rest)));
        if (!IsZero(piece)) {
          return refuse(
              "the archive ends here, but something follows; archives that were joined need tar --concatenate");
        }
      }
      break;
    }
    if (!ChecksumHolds(header)) return refuse("a header's checksum is wrong; this is no tar archive, or it is damaged");
    const std::optional<uint64_t> stated = Number(absl::string_view(header).substr(124, 12));
    if (!stated) return refuse("a header's length is no number");
    const char type = header[156];
    const uint64_t bytes = type != 'x' && type != 'g' && type != 'L' && type != 'K' && pax.size ? *pax.size : *stated;
    const uint64_t content = at + kBlock;
    // Links and folders have no content, whatever their length says.
    const bool empty = type >= '1' && type <= '6';
    if (!empty && bytes > size - content) {
      return refuse("a file of ", bytes, " bytes, but the archive has only ", size - content,
                    " more; it is cut off or damaged");
    }
    if (type == 'L' || type == 'K' || type == 'x' || type == 'g') {
      if (bytes > kMostNameBytes)
        return refuse("a name or extended header of ", bytes, " bytes; at most ", kMostNameBytes);
      PRUNELAB_ASSIGN_OR_RETURN(const std::string text, read(content, bytes));
      if (type == 'L') long_name = text.substr(0, text.find('\0'));
      if (type == 'x' || type == 'g') {
        const std::optional<PaxFields> fields = ParsePax(text);
        if (!fields) return refuse("an extended header that is not well formed");
        (type == 'x' ? pax : all) = *fields;
      }
    } else {
      if (type == 'S' || pax.sparse || all.sparse) {
        return refuse("a sparse file, which cannot be read in place; make the archive without --sparse");
      }
      if (type == '0' || type == '\0' || type == '7') {
        std::string name = std::string(Text(header, 0, 100));
        // GNU's own format has other fields where POSIX has the prefix.
        const absl::string_view prefix = Text(header, 345, 155);
        if (header.compare(257, 6, std::string("ustar\0", 6)) == 0 && !prefix.empty()) {
          name = absl::StrCat(prefix, "/", name);
        }
        if (pax.path) name = *pax.path;
        if (long_name) name = *long_name;
        members.push_back({std::string(absl::StripPrefix(name, "./")), content, bytes});
      }
      pax = PaxFields();
      long_name.reset();
    }
    at = content + (empty ? 0 : (bytes + kBlock - 1) / kBlock * kBlock);
  }
  return members;
}

}  // namespace prunelab
