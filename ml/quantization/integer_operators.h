// The arithmetic of a quantized network in integers: which operators have such a form, and what each of them computes,
// bit for bit. Values are places on grids, q in 0..255 (uint8); a number is scale (q - zero_point).
//
// Sums are exact whole numbers. They are brought to the grid of the result by a multiplication and a shift,
//
//   q = zero_point + (sum * multiplier + 2^(shift - 1)) >> shift,   multiplier in [2^30, 2^31),
//
// which rounds to the nearest, halves up, and then cut off at the grid's ends (Jacob et al., CVPR 2018, section 2.2).
// Everything here is a few calls of LibTorch on int64, or on float64 where all numbers are whole and below 2^53, which
// is as exact: a definition, not a fast implementation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/network/network.pb.h"
#include "ml/network/window.h"

namespace prunelab {

// Whether integers can express the operator: on grids, with at most a ReLU or Clip after it.
bool HasIntegerForm(const Node& node);

// A convolution or a linear layer.
bool HasWeights(const Node& node);

// A ReLU or a Clip: what may stand between an operator and its grid.
bool IsClip(const Node& node);

// x -> (x multiplier + 2^(shift - 1)) >> shift. int64, of one element or of a shape that is broadcast to x's.
struct Rescaling {
  at::Tensor multiplier, shift;
};

// Multiplies by `factors` (float64, at least 0 and below 2^30), each with a relative error of at most 2^-31. Factors
// below 2^-31 become 0.
Rescaling RescalingOf(const at::Tensor& factors);

// The same with one shift for all of them, so that products with places may be summed before the shift, in 32 bits:
// multipliers are below 2^31 / (256 (inputs + 1)). The largest has a relative error of at most 2^-21 for two inputs,
// the others the same absolute one.
Rescaling JointRescalingOf(const at::Tensor& factors);
// What factors of so many inputs must be below.
double LargestJointFactor(int64_t inputs);

// x: int64, below 2^31; of sums of products `sum` is the same without the multiplication.
at::Tensor Rescaled(const Rescaling& rescaling, const at::Tensor& x);
at::Tensor Shifted(const at::Tensor& sum, const at::Tensor& shift);

// The end of each operator: the zero point is added, and what lies outside of `first` to `last` becomes one of them.
struct ResultGrid {
  int64_t zero_point = 0, first = 0, last = 255;
};

// A convolution, or a linear layer as one of a single pixel.
struct IntegerConv {
  at::Tensor levels;  // int8 [out, in / groups, kernel height, kernel width]
  at::Tensor bias;    // int64 [out]
  Window window;
  int64_t groups = 1;
  int64_t zero_point = 0;  // of the input
  at::Tensor step;         // float64 [out]: what one unit of an accumulator stands for
  Rescaling rescaling;     // [out, 1, 1]
  ResultGrid result;
};
// int64 [N, out, H, W]. Padding stands for zeros.
at::Tensor Accumulators(const IntegerConv& conv, const at::Tensor& places);
// uint8 of the same shape.
at::Tensor Run(const IntegerConv& conv, const at::Tensor& places);

// The sum of (q_k - zero_point_k) multiplier_k, shifted; inputs of one image are repeated, as are pixels.
struct IntegerSum {
  std::vector<int64_t> zero_points;
  Rescaling rescaling;  // [inputs], jointly
  ResultGrid result;
};
at::Tensor Run(const IntegerSum& sum, const std::vector<at::Tensor>& places);

// The inputs, each brought to the result's grid, one after the other by channel.
struct IntegerConcat {
  std::vector<int64_t> zero_points;
  Rescaling rescaling;  // [inputs]
  ResultGrid result;
};
at::Tensor Run(const IntegerConcat& concat, const std::vector<at::Tensor>& places);

// (q_0 - zero_point_0) (q_1 - zero_point_1), rescaled.
struct IntegerProduct {
  int64_t zero_points[2] = {0, 0};
  Rescaling rescaling;
  ResultGrid result;
};
at::Tensor Run(const IntegerProduct& product, const at::Tensor& a, const at::Tensor& b);

// What one row of a pooled map is made of: the rows from `first` to before `end`; `length` is what their sum is divided
// by, along this axis.
struct PooledRow {
  int64_t first = 0, end = 0, length = 1;
};
std::vector<PooledRow> PooledRows(const WindowAxis& axis, int64_t size, bool count_include_pad);
std::vector<PooledRow> AdaptivePooledRows(int64_t size, int64_t result);

// The sum of (q - zero_point) over each window, rescaled by 1 / (its size).
struct IntegerAveragePool {
  std::vector<PooledRow> rows, columns;
  int64_t zero_point = 0;
  Rescaling rescaling;  // [rows, columns]
  ResultGrid result;
};
at::Tensor Run(const IntegerAveragePool& pool, const at::Tensor& places);

// The result's place for each place of the input: uint8 [256].
struct IntegerTable {
  at::Tensor table;
};
at::Tensor Run(const IntegerTable& table, const at::Tensor& places);

}  // namespace prunelab
