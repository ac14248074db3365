#include "ml/base/file_kind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace prunelab {
namespace {

using ::testing::HasSubstr;

// A zip archive's first entry, as far as its name.
std::string Zip(const std::string& name) {
  std::string bytes("PK\x03\x04", 4);
  bytes.resize(26, '\0');
  bytes += static_cast<char>(name.size());
  bytes += std::string(3, '\0') + name + "content";
  return bytes;
}

TEST(FileKindTest, FirstBytes) {
  std::string tar(600, 'x');
  tar.replace(257, 5, "ustar");
  const struct {
    std::string bytes;
    FileKind kind;
    const char* what;
  } cases[] = {
      {"", FileKind::kEmpty, "empty"},
      {std::string(4096, '\0'), FileKind::kZeros, "zeros, at least in its first 512 bytes"},
      {Zip("archive/data.pkl"), FileKind::kPyTorch, "a PyTorch file"},
      {Zip("resnet18/version"), FileKind::kPyTorch, "a PyTorch file"},
      {Zip("conv1.weight.npy"), FileKind::kNumpy, "a NumPy archive (.npz)"},
      {Zip("metadata.json"), FileKind::kZip, "a zip archive"},
      {"PK\x03\x04", FileKind::kZip, "a zip archive"},
      {std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15), FileKind::kPyTorch,
       "before version 1.6"},
      {"\x80\x04\x95", FileKind::kPickle, "a Python pickle"},
      {"\x1f\x8b\x08", FileKind::kCompressed, "a gzip archive"},
      {"BZh91AY", FileKind::kCompressed, "a bzip2 archive"},
      {std::string("\xfd\x37zXZ\0\0", 7), FileKind::kCompressed, "an xz archive"},
      {"\x28\xb5\x2f\xfd", FileKind::kCompressed, "a zstd archive"},
      {"\x93NUMPY\x01", FileKind::kNumpy, "(.npy)"},
      {"\x89HDF\r\n\x1a\n", FileKind::kHdf5, "an HDF5 file"},
      {"\x89PDC\r\n\x1a\n", FileKind::kDeepCompressed, "(.pdc)"},
      {tar, FileKind::kTar, "a tar archive"},
      {"\x08\x08\x12\x07pytorch", FileKind::kOnnx, "an ONNX file"},
      {"version https://git-lfs.github.com/spec/v1\noid", FileKind::kGitLfs, "a Git LFS pointer"},
      {"\n <!DOCTYPE html><html>", FileKind::kWebPage, "a web page"},
      {"\xef\xbb\xbf<?xml version=\"1.0\"?><Error>", FileKind::kWebPage, "a web page"},
      {"{\"weight_map\": {}}", FileKind::kJson, "JSON text"},
      {"Entry not found", FileKind::kText, "text that begins with \"Entry not found\""},
      {"name: \"x\"\nbase {", FileKind::kText, "text that begins with \"name: \\\"x\\\"\""},
      {"\xff\xd8\xff\xe0", FileKind::kPicture, "a JPEG picture"},
      {std::string("\x40\0\0\0\0\0\0\0{\"a\"", 12), FileKind::kUnknown, ""},
      {"\x07\x00\x01", FileKind::kUnknown, ""},
  };
  for (const auto& c : cases) {
    const FoundKind found = KindOfBytes(c.bytes);
    EXPECT_EQ(static_cast<int>(found.kind), static_cast<int>(c.kind)) << c.bytes.substr(0, 30) << ": " << found.what;
    EXPECT_THAT(found.what, HasSubstr(c.what));
    if (c.kind == FileKind::kUnknown) {
      EXPECT_EQ(found.what, "");
    }
  }
}

// However much of it there is.
TEST(FileKindTest, EveryPrefixIsLookedAt) {
  const std::string zip = Zip("archive/data.pkl");
  for (size_t size = 4; size < zip.size(); ++size) {
    const FileKind kind = KindOfBytes(zip.substr(0, size)).kind;
    EXPECT_TRUE(kind == FileKind::kZip || kind == FileKind::kPyTorch) << size;
  }
}

}  // namespace
}  // namespace prunelab
