// The safetensors format: eight bytes of header length (little-endian), a JSON header, then the tensors' bytes. See
// https://github.com/huggingface/safetensors, format version 0.4. What its reader refuses is refused here, too, except
// for types of numbers: a tensor of a type that is not computed with here (U16, F8_E4M3, C64, and whatever the format
// adds later) is not an error. Its position is checked like the others', and its bytes are skipped.
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

// What the header says about a tensor. Everything was checked against the file's size.
struct SafetensorsEntry {
  at::ScalarType dtype = at::kFloat;  // Undefined: its type is skipped
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

// `name` is the file's name in errors. Refused: truncated or overlong data, a header over 100 MB or one that is not a
// flat JSON object, names that occur twice, negative or overflowing shapes, offsets that overlap, leave holes, run
// backwards or do not fit the shape. Nothing is allocated before all of this was checked. The error for another kind of
// file (a .pth, a web page, a Git LFS pointer) names the kind and says how to make a safetensors file of it.
absl::StatusOr<Safetensors> ParseSafetensors(absl::string_view bytes, absl::string_view name);

// The header of a file; nothing else is read.
absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const std::string& path);

// The tensors named by `wanted` (empty: all) and the metadata. A wanted tensor that does not exist is left out.
// NotFound, as NoSuchFile, if there is no such file.
absl::StatusOr<Safetensors> ReadSafetensors(const std::string& path, const std::set<std::string>& wanted = {});

// Tensors in the order of their names; the same content gives the same bytes.
std::string SerializeSafetensors(const Safetensors& file);
// Appears whole or not at all.
absl::Status WriteSafetensors(const std::string& path, const Safetensors& file);

}  // namespace prunelab
