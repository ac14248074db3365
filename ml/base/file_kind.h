// Recognizes a file by its first bytes. Errors use this: if weights or data were expected and the file is something
// else, the error says what it is.
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
  kZeros,           // all of the first bytes are zero
  kPyTorch,         // torch.save's, as a zip or as the older pickle
  kPickle,          // any other Python pickle
  kNumpy,           // .npz or .npy
  kHdf5,            // .h5, old .keras, .mat of Matlab 7.3
  kDeepCompressed,  // .pdc, a checkpoint of this project
  kOnnx,            // also other protobufs that begin the same way
  kGguf,            // llama.cpp's
  kMatlab,          // .mat before 7.3
  kZip,             // any other zip
  kCompressed,      // gzip, bzip2, xz, zstd, lz4, 7z, rar
  kTar,
  kGitLfs,   // a pointer instead of the file
  kWebPage,  // HTML or XML
  kJson,
  kPicture,
  kText,
};

struct FoundKind {
  FileKind kind = FileKind::kUnknown;
  std::string what;  // with an article, to follow "is": "a gzip archive"; "" for kUnknown
};

// The number of bytes that KindOfBytes looks at.
constexpr size_t kKindBytes = 512;

// `head`: the file's first kKindBytes, or the whole file if it is shorter.
FoundKind KindOfBytes(absl::string_view head);

}  // namespace prunelab
