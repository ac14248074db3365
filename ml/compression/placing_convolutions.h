// Scatters into residual streams as 1x1 convolutions, and back.
//
//   conv2 [9, 5, 3, 3] -> scatter to 16 -> sum with the stream and with a constant of one pixel
//     becomes
//   conv2 [9, 5, 3, 3] -> conv [16, 9, 1, 1] of zeros and ones, the constant as its bias -> sum with the stream
//
// Engines run a convolution and the sum after it as one, and have nothing like a scatter, for which an ONNX file needs
// a Pad and a Gather.
#pragma once

#include "ml/compression/channel_layout.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

// Where `layout` asks for it (Streams::kConvolved).
void ScattersToConvolutions(WeightedNetwork& network, const ChannelLayout& layout);

// The convolutions that the function above has made, which keep the scatters' names, become scatters again, and their
// biases constants.
void ConvolutionsToScatters(WeightedNetwork& network);

}  // namespace prunelab
