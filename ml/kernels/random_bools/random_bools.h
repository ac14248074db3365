// Many random bools from a stream (ml/base/random.h), for dropout: one for each value of a layer.
//
//   RandomBools(RandomStream(seed, "dropout/drop", epoch, step), /*probability=*/0.8, count, out);
//
// It takes about a quarter of the time of drawing them one by one, and uses LibTorch's threads. The bools do not depend
// on the number of threads or on the instruction set.
#pragma once

#include <cstdint>

#include "ml/base/random.h"

namespace prunelab {

// `stream` must be new (checked: that nothing was drawn from it). out[i] says whether the stream's number i, of those
// that Next32 gives, is less than `probability` times 2^32, rounded: so it is true with that probability, from 0 to 1
// (checked), up to 2^-33.
void RandomBools(const RandomStream& stream, double probability, int64_t count, bool* out);

}  // namespace prunelab
