// The inner loops of depthwise.h over some rows of an image, on one thread. rows.cc is compiled once for each
// instruction set, in its own namespace. The code there must not use the standard library: a template that two
// instruction sets instantiate would be linked once for both.
#pragma once

#include <cstdint>

#include "ml/kernels/depthwise/depthwise.h"

namespace prunelab {

// Rows of outputs (or, for the input gradient, of inputs) are counted through all images. `taps` is the weight as
// [kernel height][kernel width][channels].
struct DepthwiseRows {
  void (*forward)(const DepthwiseShape& shape, const float* x, const float* taps, const DepthwiseOutput& output,
                  int64_t first, int64_t count, float* y);
  // For strides above 1; with stride 1 it is a forward pass of dy with the taps in reverse.
  void (*input_gradient)(const DepthwiseShape& shape, const float* dy, const float* taps, int64_t first, int64_t count,
                         float* dx);
  // Adds to `dtaps`, which is laid out like taps.
  void (*add_weight_gradient)(const DepthwiseShape& shape, const float* x, const float* dy, int64_t first,
                              int64_t count, float* dtaps);
};

namespace avx2 {
DepthwiseRows FindDepthwise();
}
namespace avx512 {
DepthwiseRows FindDepthwise();
}

}  // namespace prunelab
