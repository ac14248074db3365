// ONNX's stored tensors as at::Tensor.
#pragma once

#include <ATen/core/Tensor.h>
#include <onnx/onnx_pb.h>

#include <string>

#include "absl/status/statusor.h"

namespace prunelab {

// On the CPU, contiguous; unsigned integers of more than 8 bits as int64. `folder` is that of the file, for external
// data; "" has none. Refused before memory is taken: negative sizes, more elements than there are bytes, types that are
// not read (text, complex numbers, fewer than 8 bits), segments.
absl::StatusOr<at::Tensor> ToTensor(const onnx::TensorProto& stored, const std::string& folder);

}  // namespace prunelab
