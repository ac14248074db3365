// Random numbers from counter-based streams (Philox 4x32-10, Salmon et al. 2011). A stream is a pure function of its
// key: it does not depend on the number of threads or on the order of use, and it has no state that must be saved.
//
//   RandomStream stream(seed, "augmentation", epoch, sample);
//   const int64_t dx = stream.Below(9);
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace prunelab {

// The generator that the streams use: Philox 4x32 with ten rounds, a bijection of the counter for each key.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

class RandomStream {
 public:
  // `purpose` separates uses that share a seed: "shuffle", "augmentation", "weights/layer1.0.conv1.weight", ...
  RandomStream(uint64_t seed, absl::string_view purpose, uint64_t a = 0, uint64_t b = 0);

  uint32_t Next32();
  uint64_t Next64();
  // Uniform in [0, 1), 53 bits.
  double Uniform();
  // Uniform in {0, ..., n - 1} without bias; n > 0.
  uint64_t Below(uint64_t n);
  // Standard normal (Box-Muller).
  double Normal();

  // For those who draw many numbers at once (ml/kernels/random_bools): the key, the counter of the next block of four,
  // whose first two words count blocks, and whether nothing was drawn yet.
  const std::array<uint32_t, 2>& key() const { return key_; }
  const std::array<uint32_t, 4>& counter() const { return counter_; }
  bool is_new() const { return counter_[0] == 0 && counter_[1] == 0; }

 private:
  // The generator's state: key, counter, and what is left of the last block of four.
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_;
  int used_ = 4;
  bool has_normal_ = false;
  double normal_ = 0;
};

// 0, ..., n - 1 in random order (Fisher-Yates).
std::vector<int64_t> RandomPermutation(int64_t n, RandomStream& stream);

}  // namespace prunelab
