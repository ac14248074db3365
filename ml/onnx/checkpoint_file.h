// The one place where a file of weights that a user names is read: a checkpoint, any other safetensors file, a .pdc
// file, which is decoded (ml/deep_compression), or an ONNX file, which is imported.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/onnx/import.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

// The imported network as a checkpoint (ml/execution/checkpoint.h): its tensors, and the network in the metadata.
Safetensors ImportedCheckpoint(const ImportedNetwork& imported);

// Whether a file is read as ONNX: it is called .onnx, or begins like one. `head`: its first bytes.
bool LooksLikeOnnx(absl::string_view path, absl::string_view head);

// The file's tensors and metadata. Notes of an import are added to `notes`. Errors: those of ReadSafetensors,
// DecodeDeepCompressed and ImportOnnx; NotFound, as NoSuchFile, if there is no such file.
absl::StatusOr<Safetensors> ReadCheckpointFile(const std::string& path, std::vector<std::string>* notes);

// The metadata alone; of a safetensors file nothing else is read, and of a .pdc file nothing else is decoded.
absl::StatusOr<std::map<std::string, std::string>> CheckpointMetadata(const std::string& path);

// The whole file of bytes that were read before. `name` is the file's name in errors, `path` where it lies.
absl::StatusOr<Safetensors> ParseCheckpointFile(absl::string_view bytes, const std::string& name,
                                                const std::string& path, std::vector<std::string>* notes);

}  // namespace prunelab
