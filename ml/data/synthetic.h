// Synthetic images: learnable by a small network in seconds, of any shape and number, from a seed alone.
//
// A class is a pattern: each channel is a mosaic of 4x4 tiles, each tile one random value of variance 1. An image is
// its class's pattern plus independent noise in every pixel. Both are sums of four uniform numbers, near enough to
// normal: so the bits, and with them the fingerprint, depend on no mathematical library's last digit.
#pragma once

#include "ml/data/dataset.h"
#include "ml/data/synthetic.pb.h"

namespace prunelab {

TypedDatasetFactory<Synthetic> CreateSynthetic();

}  // namespace prunelab
