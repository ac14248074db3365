// What a file is by its first bytes, for errors: who expects weights or data and finds something else is told what it
// is.
//
//   const FoundKind found = KindOfBytes(head);
//   if (found.kind == FileKind::kGitLfs) ...  // absl::StrCat(path, ": is ", found.what)
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace prunelab {

enum class FileKind {
  kUnknown,
  kEmpty,
  kZeros,       // begins with nothing but zero bytes
  kPyTorch,     // torch.save's, as a zip or as the older pickle
  kPickle,      // any other Python pickle
  kNumpy,       // .npz or .npy
  kHdf5,        // .h5, .keras of old, .mat of Matlab 7.3
  kOnnx,        // also other protobufs that begin alike
  kGguf,        // llama.cpp's
  kMatlab,      // .mat before 7.3
  kZip,         // any other zip
  kCompressed,  // gzip, bzip2, xz, zstd, lz4, 7z, rar
  kTar,
  kGitLfs,   // a pointer in place of the file
  kWebPage,  // HTML or XML
  kJson,
  kPicture,
  kText,
};

struct FoundKind {
  FileKind kind = FileKind::kUnknown;
  std::string what;  // with its article, to stand behind "is": "a gzip archive"; "" for kUnknown
};

// As many of the first bytes as KindOfBytes looks at.
constexpr size_t kKindBytes = 512;

// `head`: the file's first kKindBytes, or all that it has.
FoundKind KindOfBytes(absl::string_view head);

}  // namespace prunelab
