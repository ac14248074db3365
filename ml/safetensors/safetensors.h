// The safetensors format: eight bytes of header length (little-endian), a JSON header, then the tensors' bytes.
// https://github.com/huggingface/safetensors, format of version 0.4; what its reader refuses is refused here too, but
// for types of numbers: a tensor of a type that is not computed with here (U16, F8_E4M3, C64, and whatever the format
// is given later) is no fault of the file. Its place is checked like the others', its bytes are passed over.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// What the header says of a tensor. Everything was checked against the file's size.
struct SafetensorsEntry {
  at::ScalarType dtype = at::kFloat;  // Undefined: of a type that is passed over
  std::string dtype_name;             // as in the file: "F32", "U16"
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes, from the end of the header
};

struct Safetensors {
  std::map<std::string, at::Tensor> tensors;  // on the CPU, contiguous
  std::map<std::string, std::string> metadata;
  std::map<std::string, SafetensorsEntry> passed_over;  // tensors of other types
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
};

// `name` stands for the bytes in errors. Refused: truncated or overlong data, a header over 100 MB or that is no flat
// JSON object, names that come twice, negative or overflowing shapes, offsets that overlap, leave holes, run backwards
// or do not fit the shape. Nothing is allocated before all that is known to hold. A file of another kind (a .pth, a web
// page, a Git LFS pointer) is named for what it is, with what makes a safetensors file of it.
absl::StatusOr<Safetensors> ParseSafetensors(absl::string_view bytes, absl::string_view name);

// The header of a file, which is all that is read.
absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const std::string& path);

// The tensors named by `wanted` (empty: all) and the metadata. A wanted tensor that is not there is left out. NotFound,
// as NoSuchFile, if there is no such file.
absl::StatusOr<Safetensors> ReadSafetensors(const std::string& path, const std::set<std::string>& wanted = {});

// Tensors in the order of their names; the same content gives the same bytes.
std::string SerializeSafetensors(const Safetensors& file);
// Appears whole or not at all.
absl::Status WriteSafetensors(const std::string& path, const Safetensors& file);

}  // namespace prunelab
