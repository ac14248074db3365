#include "ml/onnx/checkpoint_file.h"

#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/file_kind.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/deep_compression/deep_compressed.h"
#include "ml/execution/checkpoint.h"

namespace prunelab {
namespace {

// The first bytes of a file; "" if it cannot be read.
std::string HeadOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string head(kKindBytes, '\0');
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(file.gcount()));
  return head;
}

absl::StatusOr<Safetensors> Converted(absl::StatusOr<ImportedNetwork> imported, std::vector<std::string>* notes,
                                      const std::string& name) {
  PRUNELAB_RETURN_IF_ERROR(imported.status());
  for (const std::string& note : imported->notes) {
    if (notes != nullptr) notes->push_back(absl::StrCat(name, ": ", note));
  }
  return ImportedCheckpoint(*imported);
}

// What a file of weights is read as.
enum class Format { kSafetensors, kDeepCompressed, kOnnx };

// `head`: the file's first bytes.
Format FormatOf(absl::string_view path, absl::string_view head) {
  if (LooksLikeDeepCompressed(head) || absl::EndsWith(path, ".pdc")) return Format::kDeepCompressed;
  return LooksLikeOnnx(path, head) ? Format::kOnnx : Format::kSafetensors;
}

// What is no file is left to the reader of safetensors files, which says so.
Format FormatOfFile(const std::string& path) {
  return PathExists(path) && !IsFolder(path) ? FormatOf(path, HeadOf(path)) : Format::kSafetensors;
}

}  // namespace

Safetensors ImportedCheckpoint(const ImportedNetwork& imported) {
  Safetensors file;
  file.tensors = imported.tensors;
  file.metadata[kNetworkKey] = NetworkText(imported.info.network());
  return file;
}

bool LooksLikeOnnx(absl::string_view path, absl::string_view head) {
  return absl::EndsWith(path, ".onnx") || KindOfBytes(head).kind == FileKind::kOnnx;
}

absl::StatusOr<Safetensors> ReadCheckpointFile(const std::string& path, std::vector<std::string>* notes) {
  switch (FormatOfFile(path)) {
    case Format::kSafetensors:
      return ReadSafetensors(path);
    case Format::kDeepCompressed: {
      PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
      return DecodeDeepCompressed(bytes, path);
    }
    case Format::kOnnx:
      break;
  }
  return Converted(ImportOnnx(path), notes, path);
}

absl::StatusOr<std::map<std::string, std::string>> CheckpointMetadata(const std::string& path) {
  switch (FormatOfFile(path)) {
    case Format::kSafetensors: {
      PRUNELAB_ASSIGN_OR_RETURN(const SafetensorsHeader header, ReadSafetensorsHeader(path));
      return header.metadata;
    }
    case Format::kDeepCompressed: {
      PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
      return DeepCompressedMetadata(bytes, path);
    }
    case Format::kOnnx:
      break;
  }
  PRUNELAB_ASSIGN_OR_RETURN(const ImportedNetwork imported, ImportOnnx(path));
  return ImportedCheckpoint(imported).metadata;
}

absl::StatusOr<Safetensors> ParseCheckpointFile(absl::string_view bytes, const std::string& name,
                                                const std::string& path, std::vector<std::string>* notes) {
  switch (FormatOf(path, bytes.substr(0, kKindBytes))) {
    case Format::kSafetensors:
      return ParseSafetensors(bytes, name);
    case Format::kDeepCompressed:
      return DecodeDeepCompressed(bytes, name);
    case Format::kOnnx:
      break;
  }
  return Converted(ImportOnnxBytes(bytes, name, FolderOf(path)), notes, name);
}

}  // namespace prunelab
