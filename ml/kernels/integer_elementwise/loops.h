// The loops of integer_elementwise.h. loops.cc is compiled once for each instruction set, in its own namespace; the
// compiler turns plain loops into vectors. The code there must not use the standard library (see
// ml/kernels/defs.bzl).
#pragma once

#include <cstdint>

#include "ml/kernels/integer_elementwise/integer_elementwise.h"

namespace prunelab {

struct PlacesLoops {
  void (*add)(const PlacesSum& sum, int64_t count, const uint8_t* const* x, uint8_t* y) = nullptr;
  void (*take_larger)(int64_t count, const uint8_t* x, uint8_t* y) = nullptr;
  void (*gate)(const PlacesProduct& product, int64_t pixels, int64_t channels, int64_t stride, const uint8_t* x,
               const uint8_t* gate, uint8_t* y) = nullptr;
};

namespace generic {
PlacesLoops FindPlacesLoops();
}
namespace avx2 {
PlacesLoops FindPlacesLoops();
}
namespace avx512 {
PlacesLoops FindPlacesLoops();
}

}  // namespace prunelab
