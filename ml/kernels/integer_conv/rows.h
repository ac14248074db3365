// The inner loops of integer_conv.h over one row of outputs, on one thread. rows.cc is compiled once for each
// instruction set, in its own namespace. The code there must not use the standard library: a template that two
// instruction sets instantiate would be linked once for both.
#pragma once

#include <cstdint>

namespace prunelab {

// How sums become places; arrays by output channel, padded to whole vectors.
struct IntegerRescaling {
  const int64_t *multiplier, *half, *shift;
  int32_t zero_point, first, last;
};

// A row of outputs of one group.
struct IntegerConvRow {
  const uint8_t* x;          // the input of the first tap of the first pixel: numbers of `inputs` below
  int64_t pixel;             // bytes from there to that of the next pixel
  const int64_t* taps;       // bytes from there to each tap's, [tap_count]
  int64_t tap_count, steps;  // steps: vectors of inputs of each tap
  bool threes;               // taps 3 k, 3 k + 1 and 3 k + 2 read neighbouring pixels, those of `pixel`
  const uint8_t* weights;    // [blocks][taps][steps][outputs][inputs]; depthwise: [taps][channels] int32
  const int32_t* bias;       // [blocks][outputs]
  int64_t pixels, channels;  // of the row, and outputs of each pixel
  IntegerRescaling rescaling;
  uint8_t* y;      // to places,
  int32_t* sums;   // or, if that is null, to sums
  int64_t stride;  // numbers from one pixel to the next in y or sums
};

struct IntegerConvRows {
  // A vector multiplies so many channels of a pixel at a time: 4 of uint8, or 2 of int16. It sums for so many outputs.
  int inputs = 1, outputs = 1;
  void (*row)(const IntegerConvRow& row) = nullptr;
  // Each output channel has one input channel, which `x` holds as uint8.
  void (*depthwise)(const IntegerConvRow& row) = nullptr;
};

namespace generic {
IntegerConvRows FindIntegerConv();
}
namespace avx2 {
IntegerConvRows FindIntegerConv();
}
namespace avx512 {
IntegerConvRows FindIntegerConv();
}
namespace avx512_vnni {
IntegerConvRows FindIntegerConv();
}

}  // namespace prunelab
