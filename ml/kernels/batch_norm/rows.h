// The inner loops of batch_norm.h over some rows, on one thread. rows.cc is compiled once for each instruction set, in
// its own namespace, and batch_norm.cc uses the best one that the processor has. The code there must not use the
// standard library: a template that two instruction sets instantiate would be linked once for both.
#pragma once

#include <cstdint>

#include "ml/kernels/batch_norm/batch_norm.h"

namespace prunelab {

// batch_norm.h explains the arguments. `sum`, `square` and `product` are added to. `scratch` has
// BatchNormScratch(channels) elements. Its first half must be zero before its first use, and after that it must be used
// with one layout only.
template <typename T>
struct BatchNormRows {
  void (*statistics)(const T* y, int64_t rows, int64_t channels, const T* pivot, double* sum, double* square);
  void (*forward)(const BatchNormLayout& layout, const T* y, const T* scale, const T* shift, const T* addend,
                  const Rectifier& relu, T* out, T* scratch);
  void (*backward_sums)(const BatchNormLayout& layout, const T* gradient, const T* y, const T* out, const T* scale,
                        const T* shift, const T* mean, const Rectifier& relu, T* gated, double* sum, double* product,
                        T* scratch);
  void (*backward_input)(const BatchNormLayout& layout, const T* gradient, const T* y, const T* scale, const T* shift,
                         const T* mean, const T* of_y, const T* constant, const Rectifier& relu, T* dy, T* dy_stored,
                         T* scratch);
};

// Rows that are handled at a time, and the scratch that they need: y in full width, and dy.
// (static: each instruction set keeps its own.)
static inline int64_t BatchNormBlock(int64_t channels) { return channels <= 64 ? 64 : channels <= 512 ? 16 : 4; }
static inline int64_t BatchNormScratch(int64_t channels) { return 2 * BatchNormBlock(channels) * channels; }

namespace generic {
template <typename T>
BatchNormRows<T> Rows();
}
namespace avx2 {
template <typename T>
BatchNormRows<T> Rows();
}
namespace avx512 {
template <typename T>
BatchNormRows<T> Rows();
}

}  // namespace prunelab
