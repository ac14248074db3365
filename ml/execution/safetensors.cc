#include "ml/execution/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr uint64_t kLargestHeader = 100'000'000;  // the format's own limit

const std::vector<std::pair<std::string, at::ScalarType>>& DataTypes() {
  static const auto* types = new std::vector<std::pair<std::string, at::ScalarType>>{
      {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16}, {"I64", at::kLong},
      {"I32", at::kInt},    {"I16", at::kShort}, {"I8", at::kChar},  {"U8", at::kByte},       {"BOOL", at::kBool},
  };
  return *types;
}

struct Entry {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

absl::Status Refuse(absl::string_view file, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": not a valid safetensors file: ", message));
}

absl::StatusOr<Entry> ParseEntry(absl::string_view file, const std::string& name, const nlohmann::json& value) {
  Entry entry;
  entry.name = name;
  const auto refuse = [&](absl::string_view message) {
    return Refuse(file, absl::StrCat("tensor \"", name, "\": ", message));
  };
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets")) {
    return refuse("needs dtype, shape and data_offsets");
  }
  const nlohmann::json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
  if (!dtype.is_string()) return refuse("dtype must be a string");
  const auto& types = DataTypes();
  const auto found =
      std::find_if(types.begin(), types.end(), [&](const auto& t) { return t.first == dtype.get<std::string>(); });
  if (found == types.end()) {
    std::string known;
    for (const auto& type : types) absl::StrAppend(&known, known.empty() ? "" : ", ", type.first);
    return refuse(absl::StrCat("unknown dtype \"", dtype.get<std::string>(), "\"; known are ", known));
  }
  entry.type = found->second;
  if (!shape.is_array() || shape.size() > 64) return refuse("shape must be an array of at most 64 sizes");
  uint64_t count = 1;
  for (const nlohmann::json& size : shape) {
    if (!size.is_number_unsigned()) return refuse("a size in shape is no non-negative whole number");
    const uint64_t n = size.get<uint64_t>();
    if (n > (uint64_t{1} << 48) || (n != 0 && count > (uint64_t{1} << 48) / n)) return refuse("shape is too large");
    count *= n;
    entry.shape.push_back(static_cast<int64_t>(n));
  }
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return refuse("data_offsets must be two non-negative whole numbers");
  }
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  const uint64_t bytes = count * c10::elementSize(entry.type);
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    return refuse(absl::StrCat("data_offsets [", entry.begin, ", ", entry.end, "] do not hold the ", bytes,
                               " bytes of its shape"));
  }
  return entry;
}

}  // namespace

absl::StatusOr<Safetensors> ParseSafetensors(absl::string_view bytes, absl::string_view name) {
  if (bytes.size() < 8)
    return Refuse(name, absl::StrCat("has ", bytes.size(), " bytes; the header's length alone takes 8"));
  uint64_t header_bytes = 0;
  for (int i = 0; i < 8; ++i) header_bytes |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  if (header_bytes > kLargestHeader) {
    return Refuse(
        name, absl::StrCat("says its header has ", header_bytes, " bytes; at most ", kLargestHeader, " are allowed"));
  }
  if (header_bytes > bytes.size() - 8) {
    return Refuse(
        name, absl::StrCat("is truncated: its header has ", header_bytes, " bytes, ", bytes.size() - 8, " are there"));
  }
  const absl::string_view text = bytes.substr(8, header_bytes);
  const absl::string_view data = bytes.substr(8 + header_bytes);
  // A flat header nests three deep; deeper text is refused before a tree is made of it.
  const nlohmann::json header = nlohmann::json::parse(
      text.begin(), text.end(), [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth <= 4; },
      /*allow_exceptions=*/false);
  if (!header.is_object()) return Refuse(name, "its header is no JSON object");
  Safetensors file;
  std::vector<Entry> entries;
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      if (!value.is_object()) return Refuse(name, "__metadata__ must be an object of strings");
      for (const auto& [k, v] : value.items()) {
        if (!v.is_string()) return Refuse(name, absl::StrCat("__metadata__ \"", k, "\" must be a string"));
        file.metadata[k] = v.get<std::string>();
      }
      continue;
    }
    PRUNELAB_ASSIGN_OR_RETURN(Entry entry, ParseEntry(name, key, value));
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::make_pair(a.begin, a.end) < std::make_pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != at) {
      return Refuse(name, absl::StrCat("tensor \"", entry.name, "\" starts at byte ", entry.begin,
                                       " of the data where ", at, " is expected: tensors overlap or leave a hole"));
    }
    at = entry.end;
  }
  if (at != data.size()) {
    return Refuse(name, absl::StrCat(at > data.size() ? "is truncated: its tensors take "
                                                      : "has bytes after its tensors, which take ",
                                     at, " bytes, ", data.size(), " are there"));
  }
  for (const Entry& entry : entries) {
    at::Tensor tensor = at::empty(entry.shape, entry.type);
    if (entry.end > entry.begin) std::memcpy(tensor.data_ptr(), data.data() + entry.begin, entry.end - entry.begin);
    file.tensors[entry.name] = std::move(tensor);
  }
  return file;
}

absl::StatusOr<Safetensors> ReadSafetensors(const std::string& path) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, uint64_t{1} << 40));
  return ParseSafetensors(bytes, path);
}

std::string SerializeSafetensors(const Safetensors& file) {
  nlohmann::json header = nlohmann::json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  uint64_t offset = 0;
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : file.tensors) {
    const auto& types = DataTypes();
    const auto type =
        std::find_if(types.begin(), types.end(), [&](const auto& t) { return t.second == tensor.scalar_type(); });
    PRUNELAB_CHECK(type != types.end()) << name << ": dtype " << tensor.scalar_type() << " has no name in safetensors";
    tensors.push_back(tensor.detach().cpu().contiguous());
    const uint64_t bytes = tensors.back().nbytes();
    header[name] = {
        {"dtype", type->first}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');  // so that the data are aligned
  std::string bytes;
  bytes.reserve(8 + text.size() + offset);
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(text.size() >> (8 * i) & 0xFF));
  bytes += text;
  for (const at::Tensor& tensor : tensors) bytes.append(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
  return bytes;
}

absl::Status WriteSafetensors(const std::string& path, const Safetensors& file) {
  return WriteFileAtomically(path, SerializeSafetensors(file));
}

}  // namespace prunelab
