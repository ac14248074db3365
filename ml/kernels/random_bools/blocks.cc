#include "ml/kernels/random_bools/blocks.h"

namespace prunelab {
namespace PRUNELAB_INSTRUCTION_SET {

void DrawBools(const BoolStream& stream, int64_t first, uint32_t most, int64_t count, bool* out) {
  // Blocks side by side, so that the compiler computes each line below for a vector of them.
  constexpr int kLanes = 32;
  static_assert(sizeof(bool) == 1, "bools are written as bytes, four at once");
  for (int64_t done = 0; done < count; done += 4 * kLanes) {
    // Philox4x32 (ml/base/random.h) of each.
    uint32_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      const auto block = static_cast<uint64_t>(first + done / 4 + lane);
      c0[lane] = static_cast<uint32_t>(block);
      c1[lane] = static_cast<uint32_t>(block >> 32);
      c2[lane] = stream.id[0];
      c3[lane] = stream.id[1];
    }
    uint32_t key0 = stream.key[0], key1 = stream.key[1];
    for (int round = 0; round < 10; ++round) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const uint64_t p0 = uint64_t{0xD2511F53u} * c0[lane], p1 = uint64_t{0xCD9E8D57u} * c2[lane];
        c0[lane] = static_cast<uint32_t>(p1 >> 32) ^ c1[lane] ^ key0;
        c1[lane] = static_cast<uint32_t>(p1);
        c2[lane] = static_cast<uint32_t>(p0 >> 32) ^ c3[lane] ^ key1;
        c3[lane] = static_cast<uint32_t>(p0);
      }
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    // Bytes of a block in the order of its numbers, on a little-endian processor.
    uint32_t bools[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      bools[lane] = static_cast<uint32_t>(c0[lane] <= most) | static_cast<uint32_t>(c1[lane] <= most) << 8 |
                    static_cast<uint32_t>(c2[lane] <= most) << 16 | static_cast<uint32_t>(c3[lane] <= most) << 24;
    }
    const int64_t left = count - done;
    __builtin_memcpy(out + done, bools, left < 4 * kLanes ? left : 4 * kLanes);
  }
}

}  // namespace PRUNELAB_INSTRUCTION_SET
}  // namespace prunelab
