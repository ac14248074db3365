// Constants that meet values of the images: a scale of channels, a picture that is added.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "ml/onnx/converter.h"

namespace prunelab {

// The constant as it lies on the axes of the live value's node, with ONNX's broadcasting: [channels, height, width],
// each the node's or 1. Errors: it is larger than the value, or differs from image to image.
absl::StatusOr<at::Tensor> OnAxes(const Converter& converter, const OnnxNode& node, const at::Tensor& constant,
                                  const Live& live);

// Whether a constant fits into the live value, so that OnAxes knows how it lies.
bool FitsInto(const at::Tensor& constant, const Live& live);

// A node with a stored constant, of `values` [channels, height, width], read from `value` of the graph (-1: made up).
absl::StatusOr<int> EmitConstant(Converter& converter, const OnnxNode& node, const at::Tensor& values, int value);

// A constant [1, C, H, W], without some of the first dimensions, or of features [1, F], as a value of its own, whose
// batch is repeated.
absl::StatusOr<Live> ConstantAsLive(Converter& converter, const OnnxNode& node, const at::Tensor& constant, int value);

// weight x + bias by channel; an undefined one is left out. `values`: where they come from.
absl::StatusOr<Live> EmitScale(Converter& converter, const OnnxNode& node, const Live& live, const at::Tensor& weight,
                               const at::Tensor& bias, const std::vector<int>& values);

// Whether all numbers of a tensor are `number`.
bool AllAre(const at::Tensor& tensor, double number);

}  // namespace prunelab
