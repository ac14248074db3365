// ONNX's types of numbers, by their number.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace prunelab {

// The type in which numbers of ONNX's type are held; nullopt for what is not read.
inline std::optional<at::ScalarType> TensorType(int64_t type) {
  switch (type) {  // onnx::TensorProto_DataType
    case 1:
      return at::kFloat;
    case 2:
      return at::kByte;
    case 3:
      return at::kChar;
    case 5:
      return at::kShort;
    case 6:
      return at::kInt;
    case 4:
    case 7:
    case 12:
    case 13:
      return at::kLong;
    case 9:
      return at::kBool;
    case 10:
      return at::kHalf;
    case 11:
      return at::kDouble;
    case 16:
      return at::kBFloat16;
    default:
      return std::nullopt;
  }
}

}  // namespace prunelab
