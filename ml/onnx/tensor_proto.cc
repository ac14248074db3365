#include "ml/onnx/tensor_proto.h"

#include <ATen/ATen.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstring>
#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/external_data.h"
#include "ml/onnx/graph.h"
#include "ml/onnx/tensor_type.h"

namespace prunelab {
namespace {

constexpr int64_t kMostElements = int64_t{1} << 40;

absl::Status Refused(const onnx::TensorProto& stored, const std::string& message) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(stored.name()), ": ", message));
}

// A type of numbers: how many bytes one has, and as what it is read.
struct NumberType {
  int64_t bytes = 0;
  at::ScalarType type = at::kFloat;
};

absl::StatusOr<NumberType> TypeOf(const onnx::TensorProto& stored) {
  const std::optional<at::ScalarType> type = TensorType(stored.data_type());
  if (!type) {
    return Refused(stored, absl::StrCat("is of ONNX's type ", stored.data_type(),
                                        "; only floating numbers, integers of 8 bits or more, and bool are read"));
  }
  switch (stored.data_type()) {  // these are held in more bytes than they are stored in
    case onnx::TensorProto::UINT32:
      return NumberType{4, *type};
    case onnx::TensorProto::UINT16:
      return NumberType{2, *type};
    default:
      return NumberType{static_cast<int64_t>(c10::elementSize(*type)), *type};
  }
}

absl::StatusOr<std::vector<int64_t>> SizesOf(const onnx::TensorProto& stored) {
  constexpr int kMostDimensions = 16;
  if (stored.dims_size() > kMostDimensions) {
    return Refused(stored, absl::StrCat("has ", stored.dims_size(), " dimensions; at most ", kMostDimensions));
  }
  std::vector<int64_t> sizes(stored.dims().begin(), stored.dims().end());
  int64_t elements = 1;
  for (const int64_t size : sizes) {
    if (size < 0) return Refused(stored, absl::StrCat("has the sizes ", SizesText(sizes), "; must not be negative"));
    if (size > 0 && elements > kMostElements / size) {
      return Refused(stored, absl::StrCat("has the sizes ", SizesText(sizes), ": too many elements"));
    }
    elements *= size;
  }
  return sizes;
}

int64_t Product(const std::vector<int64_t>& sizes) {
  int64_t product = 1;
  for (const int64_t size : sizes) product *= size;
  return product;
}

// Little-endian bytes, like this machine's.
template <typename Stored, typename Read>
at::Tensor Widened(const std::string& bytes, const std::vector<int64_t>& sizes, at::ScalarType type) {
  const at::Tensor tensor = at::empty(sizes, type);
  Read* to = tensor.data_ptr<Read>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    Stored number;
    std::memcpy(&number, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    to[i] = static_cast<Read>(number);
  }
  return tensor;
}

at::Tensor OfBytes(const std::string& bytes, const std::vector<int64_t>& sizes, int data_type, at::ScalarType type) {
  if (data_type == onnx::TensorProto::UINT32) return Widened<uint32_t, int64_t>(bytes, sizes, type);
  if (data_type == onnx::TensorProto::UINT16) return Widened<uint16_t, int64_t>(bytes, sizes, type);
  if (type == at::kBool) return Widened<uint8_t, uint8_t>(bytes, sizes, at::kByte).ne(0);
  const at::Tensor tensor = at::empty(sizes, type);
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

// Numbers that are stored one by one in a field of the message.
template <typename Read, typename Field>
absl::StatusOr<at::Tensor> OfField(const onnx::TensorProto& stored, const Field& field,
                                   const std::vector<int64_t>& sizes, at::ScalarType type) {
  if (field.size() != Product(sizes)) {
    return Refused(
        stored, absl::StrCat("has ", field.size(), " numbers; its sizes ", SizesText(sizes), " need ", Product(sizes)));
  }
  const at::Tensor tensor = at::empty(sizes, c10::CppTypeToScalarType<Read>::value);
  Read* to = tensor.data_ptr<Read>();
  for (int i = 0; i < field.size(); ++i) to[i] = static_cast<Read>(field.Get(i));
  return tensor.to(type);
}

// Floating numbers of 16 bits are stored as integers with their bits.
template <typename Number>
absl::StatusOr<at::Tensor> OfBits(const onnx::TensorProto& stored, const std::vector<int64_t>& sizes,
                                  at::ScalarType type) {
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor bits, OfField<int32_t>(stored, stored.int32_data(), sizes, at::kInt));
  const at::Tensor tensor = at::empty(sizes, type);
  Number* to = tensor.data_ptr<Number>();
  const int32_t* from = bits.data_ptr<int32_t>();
  for (int64_t i = 0; i < tensor.numel(); ++i) to[i] = Number(static_cast<uint16_t>(from[i]), Number::from_bits());
  return tensor;
}

absl::StatusOr<at::Tensor> OfFields(const onnx::TensorProto& stored, const std::vector<int64_t>& sizes,
                                    at::ScalarType type) {
  switch (stored.data_type()) {
    case onnx::TensorProto::FLOAT:
      return OfField<float>(stored, stored.float_data(), sizes, type);
    case onnx::TensorProto::DOUBLE:
      return OfField<double>(stored, stored.double_data(), sizes, type);
    case onnx::TensorProto::FLOAT16:
      return OfBits<c10::Half>(stored, sizes, type);
    case onnx::TensorProto::BFLOAT16:
      return OfBits<c10::BFloat16>(stored, sizes, type);
    case onnx::TensorProto::INT64:
      return OfField<int64_t>(stored, stored.int64_data(), sizes, type);
    case onnx::TensorProto::UINT64:
    case onnx::TensorProto::UINT32:
      return OfField<int64_t>(stored, stored.uint64_data(), sizes, type);
    default:
      return OfField<int32_t>(stored, stored.int32_data(), sizes, type);
  }
}

absl::StatusOr<ExternalPlace> PlaceOf(const onnx::TensorProto& stored) {
  ExternalPlace place;
  for (const onnx::StringStringEntryProto& entry : stored.external_data()) {
    if (entry.key() == "location") place.location = entry.value();
    const bool offset = entry.key() == "offset", length = entry.key() == "length";
    if (!offset && !length) continue;
    int64_t number = 0;
    if (!absl::SimpleAtoi(entry.value(), &number) || number < 0) {
      return Refused(stored, absl::StrCat("its external data's ", entry.key(), " is ", Quoted(entry.value()),
                                          "; must be a number of bytes"));
    }
    (offset ? place.offset : place.length) = number;
  }
  return place;
}

}  // namespace

absl::StatusOr<at::Tensor> ToTensor(const onnx::TensorProto& stored, const std::string& folder) {
  PRUNELAB_ASSIGN_OR_RETURN(const NumberType type, TypeOf(stored));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, SizesOf(stored));
  if (stored.has_segment()) return Refused(stored, "is stored in segments, which are not read");
  const int64_t expected = Product(sizes) * type.bytes;
  if (stored.data_location() == onnx::TensorProto::EXTERNAL) {
    PRUNELAB_ASSIGN_OR_RETURN(const ExternalPlace place, PlaceOf(stored));
    const absl::StatusOr<std::string> bytes = ReadExternal(folder, place, expected);
    if (!bytes.ok()) return Refused(stored, std::string(bytes.status().message()));
    return OfBytes(*bytes, sizes, stored.data_type(), type.type);
  }
  if (!stored.has_raw_data()) return OfFields(stored, sizes, type.type);
  if (static_cast<int64_t>(stored.raw_data().size()) != expected) {
    return Refused(stored, absl::StrCat("has ", stored.raw_data().size(), " bytes; its type and sizes ",
                                        SizesText(sizes), " need ", expected));
  }
  return OfBytes(stored.raw_data(), sizes, stored.data_type(), type.type);
}

}  // namespace prunelab
