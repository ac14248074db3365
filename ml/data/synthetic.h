// Synthetic images that a small network can learn in seconds, of any shape and number, from a seed alone.
//
// A class is a pattern: each channel is a mosaic of 4x4 tiles, and each tile is one random value of variance 1. An
// image is its class's pattern plus independent noise in every pixel. Both are sums of four uniform numbers, which is
// close enough to normal. So the bits, and with them the fingerprint, do not depend on the last digit of any
// mathematical library.
#pragma once

#include "ml/data/dataset.h"
#include "ml/data/synthetic.pb.h"

namespace prunelab {

TypedDatasetFactory<Synthetic> CreateSynthetic();

}  // namespace prunelab
