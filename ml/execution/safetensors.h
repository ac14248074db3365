// The safetensors format: eight bytes of header length (little-endian), a JSON header, then the tensors' bytes.
// https://github.com/huggingface/safetensors, format of version 0.4; what its reader refuses is refused here too.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

struct Safetensors {
  std::map<std::string, at::Tensor> tensors;  // on the CPU, contiguous
  std::map<std::string, std::string> metadata;
};

// `name` stands for the bytes in errors. Refused: truncated or overlong data, a header over 100 MB or that is no flat
// JSON object, unknown dtypes, negative or overflowing shapes, offsets that overlap, leave holes, run backwards or do
// not fit the shape.
absl::StatusOr<Safetensors> ParseSafetensors(absl::string_view bytes, absl::string_view name);
absl::StatusOr<Safetensors> ReadSafetensors(const std::string& path);

// Tensors in the order of their names; the same content gives the same bytes.
std::string SerializeSafetensors(const Safetensors& file);
// Appears whole or not at all.
absl::Status WriteSafetensors(const std::string& path, const Safetensors& file);

}  // namespace prunelab
