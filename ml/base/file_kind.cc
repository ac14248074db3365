#include "ml/base/file_kind.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace prunelab {
namespace {

using Sign = absl::string_view;

uint8_t Byte(absl::string_view head, size_t at) { return static_cast<uint8_t>(head[at]); }

// The name of the first entry of a zip archive. Its length is at byte 26 and the name is at byte 30.
absl::string_view FirstEntry(absl::string_view head) {
  if (head.size() < 30) return "";
  return head.substr(30, Byte(head, 26) | Byte(head, 27) << 8);
}

FoundKind KindOfZip(absl::string_view head) {
  const absl::string_view entry = FirstEntry(head);
  if (absl::EndsWith(entry, ".npy")) return {FileKind::kNumpy, "a NumPy archive (.npz)"};
  // torch.save puts everything into one folder. Its first file is the pickle or, in some versions, a small file about
  // the format.
  for (const Sign name : {"/data.pkl", "/constants.pkl", "/version", "/byteorder", "/.format_version",
                          "/.storage_alignment", "/.data/serialization_id", "/data/0"}) {
    if (absl::EndsWith(entry, name)) return {FileKind::kPyTorch, "a PyTorch file (.pth, .pt or .bin, a zip archive)"};
  }
  return {FileKind::kZip, "a zip archive"};
}

FoundKind KindOfPickle(absl::string_view head) {
  // Before version 1.6, torch.save begins with this number as a separate pickle.
  constexpr Sign kMagicNumber = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
  if (absl::StartsWith(head.substr(2), kMagicNumber)) {
    return {FileKind::kPyTorch, "a PyTorch file (.pth, .pt or .bin, in the pickle format before version 1.6)"};
  }
  return {FileKind::kPickle, "a Python pickle"};
}

// The fields that a ModelProto begins with: the version of its format, and then the producer's name, the operator sets,
// or a text.
bool LooksLikeOnnx(absl::string_view head) {
  if (head.size() < 4 || Byte(head, 0) != 0x08 || Byte(head, 1) < 1 || Byte(head, 1) > 30) return false;
  const uint8_t next = Byte(head, 2);
  return next == 0x12 || next == 0x1a || next == 0x22 || next == 0x32 || next == 0x3a || next == 0x42;
}

bool IsText(absl::string_view head) {
  constexpr size_t kLookedAt = 64;
  const absl::string_view start = head.substr(0, kLookedAt);
  return std::all_of(start.begin(), start.end(),
                     [](char c) {
                       const auto byte = static_cast<unsigned char>(c);
                       return absl::ascii_isprint(byte) || absl::ascii_isspace(byte) || byte >= 0x80;
                     }) &&
         absl::ascii_isprint(static_cast<unsigned char>(start[0]));
}

}  // namespace

FoundKind KindOfBytes(absl::string_view head) {
  head = head.substr(0, kKindBytes);
  if (head.empty()) return {FileKind::kEmpty, "empty"};
  if (head.size() >= 16 && head.find_first_not_of('\0') == absl::string_view::npos) {
    return {FileKind::kZeros, absl::StrCat("zeros, at least in its first ", head.size(), " bytes")};
  }
  if (absl::StartsWith(head, "PK\x03\x04") || absl::StartsWith(head, "PK\x05\x06")) return KindOfZip(head);
  if (head.size() >= 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) return KindOfPickle(head);
  const struct {
    Sign sign;
    FileKind kind;
    const char* what;
  } signs[] = {
      {"\x1f\x8b", FileKind::kCompressed, "a gzip archive"},
      {"BZh", FileKind::kCompressed, "a bzip2 archive"},
      {Sign("\xfd\x37zXZ\0", 6), FileKind::kCompressed, "an xz archive"},
      {"\x28\xb5\x2f\xfd", FileKind::kCompressed, "a zstd archive"},
      {"\x04\x22\x4d\x18", FileKind::kCompressed, "an lz4 archive"},
      {"7z\xbc\xaf\x27\x1c", FileKind::kCompressed, "a 7z archive"},
      {"Rar!\x1a\x07", FileKind::kCompressed, "a rar archive"},
      {"\x93NUMPY", FileKind::kNumpy, "a NumPy array (.npy)"},
      {"\x89HDF\r\n\x1a\n", FileKind::kHdf5, "an HDF5 file (.h5)"},
      {"\x89PDC\r\n", FileKind::kDeepCompressed, "a checkpoint made small by Deep Compression (.pdc)"},
      {"GGUF", FileKind::kGguf, "a GGUF file"},
      {"MATLAB", FileKind::kMatlab, "a Matlab file"},
      {"\x89PNG", FileKind::kPicture, "a PNG picture"},
      {"\xff\xd8\xff", FileKind::kPicture, "a JPEG picture"},
      {"version https://git-lfs", FileKind::kGitLfs, "a Git LFS pointer, whose file was not fetched"},
      {"version https://hawser", FileKind::kGitLfs, "a Git LFS pointer, whose file was not fetched"},
  };
  for (const auto& [sign, kind, what] : signs) {
    if (absl::StartsWith(head, sign)) return {kind, what};
  }
  if (head.size() >= 262 && head.substr(257, 5) == "ustar") return {FileKind::kTar, "a tar archive"};
  if (LooksLikeOnnx(head)) return {FileKind::kOnnx, "an ONNX file or another protobuf"};
  absl::string_view text = head;
  absl::ConsumePrefix(&text, "\xef\xbb\xbf");  // a byte order mark
  text = absl::StripLeadingAsciiWhitespace(text);
  if (text.empty()) return {FileKind::kText, "white space"};
  if (text[0] == '<') return {FileKind::kWebPage, "a web page"};
  if (!IsText(text)) return {};
  if (text[0] == '{' || text[0] == '[') return {FileKind::kJson, "JSON text"};
  constexpr size_t kLeast = 4, kShown = 40;
  if (text.size() < kLeast) return {};  // one or two letters could be the beginning of anything
  const absl::string_view line = absl::StripAsciiWhitespace(text.substr(0, std::min(text.find('\n'), kShown)));
  return {FileKind::kText, absl::StrCat("text that begins with \"", absl::Utf8SafeCEscape(line), "\"")};
}

}  // namespace prunelab
