// Random numbers from counter-based streams (Philox 4x32-10, Salmon et al. 2011). A stream is a pure function of its key: it
// depends on no thread count, no order of use, and needs no state to be saved.
//
//   RandomStream stream(seed, "augmentation", epoch, sample);
//   const int64_t dx = stream.Below(9);
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace prunelab {

class RandomStream {
 public:
  // `purpose` keeps uses apart that share a seed: "shuffle", "augmentation", "weights/layer1.0.conv1.weight", ...
  RandomStream(uint64_t seed, absl::string_view purpose, uint64_t a = 0, uint64_t b = 0);

  uint32_t Next32();
  uint64_t Next64();
  // Uniform in [0, 1), 53 bits.
  double Uniform();
  // Uniform in {0, ..., n - 1} without bias; n > 0.
  uint64_t Below(uint64_t n);
  // Standard normal (Box-Muller).
  double Normal();

 private:
  // The engine's state: key, counter, and what is left of the last block of four.
  uint32_t key_[2];
  uint32_t counter_[4];
  uint32_t block_[4];
  int used_ = 4;
  bool has_normal_ = false;
  double normal_ = 0;
};

// 0, ..., n - 1 in random order (Fisher-Yates).
std::vector<int64_t> RandomPermutation(int64_t n, RandomStream& stream);

}  // namespace prunelab
