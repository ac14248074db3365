// Resize, Pad and AdaptivePool2d (network.proto): which rows of its input each row of the result is made of, and how it
// is computed, by LibTorch's calls. Columns are the same as rows. Autograd differentiates through all of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/network/network.pb.h"

namespace prunelab {

// Two neighbouring rows, of which the second has the weight part / whole and the first the rest.
struct RowBlend {
  int64_t first = 0, second = 0, part = 0, whole = 1;
};

// Of Resize: by row of the result. NEAREST: `second` is `first`. In integers, so that no rounding moves a row.
std::vector<RowBlend> ResizedRows(Resize::Function function, int64_t size, int64_t result);

// Of Pad: by row of the result, the row of the input that it repeats; -1 for CONSTANT's value.
std::vector<int64_t> PaddedRows(Pad::Function function, int64_t size, int64_t before, int64_t after);

// Of AdaptivePool2d: by row of the result, the rows from `first` to before `end`.
struct RowRange {
  int64_t first = 0, end = 0;
};
std::vector<RowRange> AdaptiveRows(int64_t size, int64_t result);

// x is [N, C, H, W].
at::Tensor RunResize(const Resize& resize, const at::Tensor& x);
at::Tensor RunPad(const Pad& pad, const at::Tensor& x);
at::Tensor RunAdaptivePool2d(const AdaptivePool2d& pool, const at::Tensor& x);

}  // namespace prunelab
