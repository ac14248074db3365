#include "ml/safetensors/safetensors.h"

#include <ATen/ATen.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/file_kind.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr uint64_t kLargestHeader = 100'000'000;  // the format's own limit
constexpr uint64_t kLargestCount = uint64_t{1} << 48;
constexpr int kDeepest = 3;  // header, tensor, its shape

struct DataType {
  const char* name;
  int bits;                                         // of an element
  at::ScalarType type = at::ScalarType::Undefined;  // where tensors of it are read
};

// The format's types. For a type that was added later the size of an element is not known.
constexpr DataType kDataTypes[] = {
    {"F64", 64, at::kDouble},
    {"F32", 32, at::kFloat},
    {"F16", 16, at::kHalf},
    {"BF16", 16, at::kBFloat16},
    {"I64", 64, at::kLong},
    {"I32", 32, at::kInt},
    {"I16", 16, at::kShort},
    {"I8", 8, at::kChar},
    {"U8", 8, at::kByte},
    {"BOOL", 8, at::kBool},
    {"U64", 64},
    {"U32", 32},
    {"U16", 16},
    {"C64", 64},
    {"F8_E4M3", 8},
    {"F8_E5M2", 8},
    {"F8_E8M0", 8},
    {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8},
    {"F6_E2M3", 6},
    {"F6_E3M2", 6},
    {"F4", 4},
};

absl::Status Refuse(absl::string_view file, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": not a valid safetensors file: ", message));
}

absl::StatusOr<SafetensorsEntry> ParseEntry(absl::string_view file, const std::string& name,
                                            const nlohmann::json& value) {
  SafetensorsEntry entry;
  const auto refuse = [&](absl::string_view message) {
    return Refuse(file, absl::StrCat("tensor \"", name, "\": ", message));
  };
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets")) {
    return refuse("needs dtype, shape and data_offsets");
  }
  const nlohmann::json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
  if (!dtype.is_string()) return refuse("dtype must be a string");
  entry.dtype_name = dtype.get<std::string>();
  const DataType* type = std::find_if(std::begin(kDataTypes), std::end(kDataTypes),
                                      [&](const DataType& known) { return entry.dtype_name == known.name; });
  if (type == std::end(kDataTypes)) type = nullptr;
  entry.dtype = type == nullptr ? at::ScalarType::Undefined : type->type;
  if (!shape.is_array() || shape.size() > 64) return refuse("shape must be an array of at most 64 sizes");
  uint64_t count = 1, product = 1;
  for (const nlohmann::json& size : shape) {
    if (!size.is_number_unsigned()) return refuse("a size in shape is no non-negative whole number");
    const uint64_t n = size.get<uint64_t>();
    // Sizes of 0 do not hide others that would overflow: strides are products of all but the first.
    if (n > kLargestCount || (n != 0 && product > kLargestCount / n)) return refuse("shape is too large");
    product *= std::max<uint64_t>(n, 1);
    count *= n;
    entry.shape.push_back(static_cast<int64_t>(n));
  }
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return refuse("data_offsets must be two non-negative whole numbers");
  }
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  if (type == nullptr) {
    if (entry.end >= entry.begin) return entry;
    return refuse(absl::StrCat("data_offsets [", entry.begin, ", ", entry.end, "] run backwards"));
  }
  const uint64_t bits = count * type->bits;
  if (bits % 8 != 0)
    return refuse(absl::StrCat("its ", count, " elements of ", type->bits, " bits fill no whole byte"));
  const uint64_t bytes = bits / 8;
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    return refuse(absl::StrCat("data_offsets [", entry.begin, ", ", entry.end, "] do not hold the ", bytes,
                               " bytes of its shape"));
  }
  return entry;
}

// How to get tensors out of another kind of file, for the end of an error; `name` is the file's.
std::string Remedy(FileKind kind, absl::string_view name) {
  const size_t slash = name.rfind('/');
  const absl::string_view base = slash == absl::string_view::npos ? name : name.substr(slash + 1);
  switch (kind) {
    case FileKind::kPyTorch:
    case FileKind::kPickle:
      return absl::StrCat("write its tensors as safetensors in Python: safetensors.torch.save_file(torch.load(\"", base,
                          "\", map_location=\"cpu\"), \"weights.safetensors\"); where the file holds more than the "
                          "state_dict, save that part of it, e.g. torch.load(...)[\"state_dict\"]");
    case FileKind::kNumpy:
      return absl::StrCat("write its arrays as safetensors in Python: safetensors.numpy.save_file(dict(numpy.load(\"",
                          base, "\")), \"weights.safetensors\")");
    case FileKind::kHdf5:
    case FileKind::kMatlab:
      return "write its arrays as safetensors in Python: safetensors.numpy.save_file({name: array, ...}, "
             "\"weights.safetensors\"), weights under PyTorch's names and in its layouts";
    case FileKind::kOnnx:
      return absl::StrCat("make a checkpoint of it: bazel run //tools:import -- --onnx=", base,
                          " --output=weights.safetensors");
    case FileKind::kDeepCompressed:
      return absl::StrCat("make a safetensors file of it: bazel run //tools:deep_compress -- --decode=", base,
                          " --output=weights.safetensors");
    case FileKind::kGguf:
      return "save the weights where they come from: safetensors.torch.save_file(model.state_dict(), "
             "\"weights.safetensors\")";
    case FileKind::kZip:
    case FileKind::kCompressed:
    case FileKind::kTar:
      return "unpack it, and give the .safetensors file that is in it";
    case FileKind::kGitLfs:
      return "fetch the file itself: git lfs pull";
    case FileKind::kWebPage:
    case FileKind::kText:
      return "a download may have brought this in place of the file: look at it, then fetch the .safetensors file "
             "itself";
    case FileKind::kJson:
      return "an index of weights in several files looks like this: join those files in one .safetensors file, and "
             "give that";
    case FileKind::kEmpty:
    case FileKind::kZeros:
      return "a copy or download may have been cut short: fetch the file again";
    case FileKind::kPicture:
    case FileKind::kUnknown:
      break;
  }
  return "give a .safetensors file";
}

// The error for a file without a readable header, for the reason `refused`; it names the kind of the file if its first
// bytes tell.
absl::Status NamedForWhatItIs(const absl::Status& refused, absl::string_view head, absl::string_view name) {
  // A header has begun, so it is a safetensors file, but a broken one.
  if (head.size() > 8 && head[8] == '{') return refused;
  const FoundKind found = KindOfBytes(head);
  if (found.kind == FileKind::kUnknown) return refused;
  return Refuse(name, absl::StrCat("it is ", found.what, "; ", Remedy(found.kind, name)));
}

// The JSON text of a header as a tree. Text that is nested deeper than a header can be is refused before a tree is made
// of it. So are names that occur twice, of which a tree would keep only one.
absl::StatusOr<nlohmann::json> ParseHeaderText(absl::string_view text, absl::string_view name) {
  bool too_deep = false;
  std::string twice;
  std::vector<std::set<std::string>> names;  // of the objects that are open
  const auto callback = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    if (depth > kDeepest) too_deep = true;
    if (too_deep) return false;
    switch (event) {
      case nlohmann::json::parse_event_t::object_start:
        names.emplace_back();
        break;
      case nlohmann::json::parse_event_t::object_end:
        names.pop_back();
        break;
      case nlohmann::json::parse_event_t::key:
        if (!names.back().insert(value.get<std::string>()).second && twice.empty()) twice = value.get<std::string>();
        break;
      default:
        break;
    }
    return true;
  };
  nlohmann::json header = nlohmann::json::parse(text.begin(), text.end(), callback, /*allow_exceptions=*/false);
  if (too_deep) return Refuse(name, "its header nests deeper than a tensor's description");
  if (!header.is_object()) return Refuse(name, "its header is no JSON object");
  if (!twice.empty()) return Refuse(name, absl::StrCat("its header has \"", twice, "\" twice"));
  return header;
}

// The length of the header that follows the first eight bytes of a file of `file_bytes`.
absl::StatusOr<uint64_t> HeaderBytes(absl::string_view first_bytes, uint64_t file_bytes, absl::string_view name) {
  if (first_bytes.size() < 8) {
    return Refuse(name, absl::StrCat("has ", first_bytes.size(), " bytes; the header's length alone takes 8"));
  }
  uint64_t header_bytes = 0;
  for (int i = 0; i < 8; ++i) header_bytes |= uint64_t{static_cast<unsigned char>(first_bytes[i])} << (8 * i);
  if (header_bytes > kLargestHeader) {
    return Refuse(
        name, absl::StrCat("says its header has ", header_bytes, " bytes; at most ", kLargestHeader, " are allowed"));
  }
  if (header_bytes > file_bytes - 8) {
    return Refuse(
        name, absl::StrCat("is truncated: its header has ", header_bytes, " bytes, ", file_bytes - 8, " are there"));
  }
  return header_bytes;
}

absl::StatusOr<SafetensorsHeader> ParseHeader(const nlohmann::json& header, uint64_t data_bytes,
                                              absl::string_view name) {
  SafetensorsHeader parsed;
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      if (!value.is_object()) return Refuse(name, "__metadata__ must be an object of strings");
      for (const auto& [k, v] : value.items()) {
        if (!v.is_string()) return Refuse(name, absl::StrCat("__metadata__ \"", k, "\" must be a string"));
        parsed.metadata[k] = v.get<std::string>();
      }
      continue;
    }
    PRUNELAB_ASSIGN_OR_RETURN(parsed.tensors[key], ParseEntry(name, key, value));
  }
  std::vector<std::pair<std::string, const SafetensorsEntry*>> in_order;
  for (const auto& [key, entry] : parsed.tensors) in_order.emplace_back(key, &entry);
  std::sort(in_order.begin(), in_order.end(), [](const auto& a, const auto& b) {
    return std::make_pair(a.second->begin, a.second->end) < std::make_pair(b.second->begin, b.second->end);
  });
  uint64_t at = 0;
  for (const auto& [key, entry] : in_order) {
    if (entry->begin != at) {
      return Refuse(name, absl::StrCat("tensor \"", key, "\" starts at byte ", entry->begin, " of the data where ", at,
                                       " is expected: tensors overlap or leave a hole"));
    }
    at = entry->end;
  }
  if (at != data_bytes) {
    return Refuse(name, absl::StrCat(at > data_bytes ? "is truncated: its tensors take "
                                                     : "has bytes after its tensors, which take ",
                                     at, " bytes, ", data_bytes, " are there"));
  }
  return parsed;
}

// A file whose header was read and checked.
struct OpenFile {
  std::ifstream stream;
  SafetensorsHeader header;
  uint64_t data_begin = 0;  // bytes from the file's start
};

absl::StatusOr<OpenFile> Open(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return NoSuchFile(path);
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": is no file"));
  OpenFile file;
  file.stream.open(path, std::ios::binary);
  if (!file.stream) return absl::PermissionDeniedError(absl::StrCat(path, ": cannot be opened for reading"));
  std::string head(kKindBytes, '\0');
  file.stream.read(&head[0], static_cast<std::streamsize>(head.size()));
  head.resize(file.stream.gcount());
  const absl::StatusOr<uint64_t> header_bytes = HeaderBytes(head, info.st_size, path);
  if (!header_bytes.ok()) return NamedForWhatItIs(header_bytes.status(), head, path);
  std::string text(*header_bytes, '\0');
  file.stream.clear();  // a short file ends within `head`
  file.stream.seekg(8);
  file.stream.read(&text[0], static_cast<std::streamsize>(*header_bytes));
  if (!file.stream) return absl::DataLossError(absl::StrCat(path, ": cannot be read"));
  file.data_begin = 8 + *header_bytes;
  const absl::StatusOr<nlohmann::json> tree = ParseHeaderText(text, path);
  if (!tree.ok()) return NamedForWhatItIs(tree.status(), head, path);
  PRUNELAB_ASSIGN_OR_RETURN(file.header, ParseHeader(*tree, info.st_size - file.data_begin, path));
  return file;
}

}  // namespace

absl::StatusOr<Safetensors> ParseSafetensors(absl::string_view bytes, absl::string_view name) {
  const absl::StatusOr<uint64_t> header_bytes = HeaderBytes(bytes, bytes.size(), name);
  if (!header_bytes.ok()) return NamedForWhatItIs(header_bytes.status(), bytes.substr(0, kKindBytes), name);
  const absl::StatusOr<nlohmann::json> tree = ParseHeaderText(bytes.substr(8, *header_bytes), name);
  if (!tree.ok()) return NamedForWhatItIs(tree.status(), bytes.substr(0, kKindBytes), name);
  const absl::string_view data = bytes.substr(8 + *header_bytes);
  PRUNELAB_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseHeader(*tree, data.size(), name));
  Safetensors file;
  file.metadata = std::move(header.metadata);
  for (const auto& [key, entry] : header.tensors) {
    if (entry.dtype == at::ScalarType::Undefined) {
      file.passed_over[key] = entry;
      continue;
    }
    at::Tensor tensor = at::empty(entry.shape, entry.dtype);
    if (entry.end > entry.begin) std::memcpy(tensor.data_ptr(), data.data() + entry.begin, entry.end - entry.begin);
    file.tensors[key] = std::move(tensor);
  }
  return file;
}

absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const std::string& path) {
  PRUNELAB_ASSIGN_OR_RETURN(OpenFile file, Open(path));
  return std::move(file.header);
}

absl::StatusOr<Safetensors> ReadSafetensors(const std::string& path, const std::set<std::string>& wanted) {
  PRUNELAB_ASSIGN_OR_RETURN(OpenFile file, Open(path));
  Safetensors read;
  for (const auto& [key, entry] : file.header.tensors) {
    if (!wanted.empty() && wanted.count(key) == 0) continue;
    if (entry.dtype == at::ScalarType::Undefined) {
      read.passed_over[key] = entry;
      continue;
    }
    at::Tensor tensor = at::empty(entry.shape, entry.dtype);
    if (entry.end > entry.begin) {
      file.stream.seekg(static_cast<std::streamoff>(file.data_begin + entry.begin));
      file.stream.read(static_cast<char*>(tensor.data_ptr()), static_cast<std::streamsize>(entry.end - entry.begin));
      if (!file.stream) {
        return absl::DataLossError(absl::StrCat(path, ": tensor \"", key, "\" cannot be read; did the file change?"));
      }
    }
    read.tensors[key] = std::move(tensor);
  }
  read.metadata = std::move(file.header.metadata);
  return read;
}

std::string SerializeSafetensors(const Safetensors& file) {
  nlohmann::json header = nlohmann::json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  uint64_t offset = 0;
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : file.tensors) {
    const DataType* type =
        std::find_if(std::begin(kDataTypes), std::end(kDataTypes),
                     [dtype = tensor.scalar_type()](const DataType& known) { return known.type == dtype; });
    PRUNELAB_CHECK(tensor.defined() && type != std::end(kDataTypes))
        << name << ": dtype " << tensor.scalar_type() << " has no name in safetensors";
    tensors.push_back(tensor.detach().cpu().contiguous());
    const uint64_t bytes = tensors.back().nbytes();
    header[name] = {{"dtype", type->name}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, offset + bytes}}};
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
