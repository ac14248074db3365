// What a 3x3 convolution (conv3x3.h) reads.
#pragma once

namespace prunelab {

// Images [images, height, width, in]: `data`, or, where scale and shift [in] are not null, max(0, data * scale +
// shift): BN and ReLU as the data is read. Not-a-number passes, as in LibTorch's relu.
struct Conv3x3Input {
  const float* data = nullptr;
  const float* scale = nullptr;
  const float* shift = nullptr;
};

}  // namespace prunelab
