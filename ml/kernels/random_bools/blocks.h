// The inner loop of random_bools.h, on one thread. blocks.cc is compiled once for each instruction set, in its own
// namespace. The code there must not use the standard library: a template that two instruction sets instantiate would
// be linked once for both.
#pragma once

#include <cstdint>

namespace prunelab {

// The key of a stream (ml/base/random.h), and the half of its counter that tells it from the key's other streams.
struct BoolStream {
  uint32_t key[2];
  uint32_t id[2];
};

// Whether the numbers of the stream's blocks from `first` on, four in each block, are at most `most`: `count` of them.
namespace avx2 {
void DrawBools(const BoolStream& stream, int64_t first, uint32_t most, int64_t count, bool* out);
}
namespace avx512 {
void DrawBools(const BoolStream& stream, int64_t first, uint32_t most, int64_t count, bool* out);
}
namespace generic {
void DrawBools(const BoolStream& stream, int64_t first, uint32_t most, int64_t count, bool* out);
}

}  // namespace prunelab
