#include "ml/base/random.h"

#include <cmath>
#include <utility>

#include "ml/base/check.h"

namespace prunelab {
namespace {

// The finalizer of SplitMix64 (Steele, Lea and Flood 2014): a bijection that spreads nearby keys.
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// FNV-1a, 64 bits.
uint64_t HashName(absl::string_view name) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

}  // namespace

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

RandomStream::RandomStream(uint64_t seed, absl::string_view purpose, uint64_t a, uint64_t b) {
  const uint64_t key = Mix(seed ^ Mix(HashName(purpose)));
  const uint64_t stream = Mix(a) ^ Mix(Mix(b) + 1);
  key_ = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
  counter_ = {0, 0, static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
}

uint32_t RandomStream::Next32() {
  if (used_ == 4) {
    block_ = Philox4x32(counter_, key_);
    if (++counter_[0] == 0) ++counter_[1];
    used_ = 0;
  }
  return block_[used_++];
}

uint64_t RandomStream::Next64() {
  const uint64_t low = Next32();
  return low | uint64_t{Next32()} << 32;
}

double RandomStream::Uniform() { return static_cast<double>(Next64() >> 11) * 0x1p-53; }

uint64_t RandomStream::Below(uint64_t n) {
  PRUNELAB_CHECK(n > 0) << "Below(0)";
  const uint64_t limit = ~uint64_t{0} - ~uint64_t{0} % n;  // a multiple of n
  uint64_t x = Next64();
  while (x >= limit) x = Next64();
  return x % n;
}

double RandomStream::Normal() {
  if (has_normal_) {
    has_normal_ = false;
    return normal_;
  }
  const double radius = std::sqrt(-2 * std::log(1 - Uniform()));
  const double angle = 2 * M_PI * Uniform();
  normal_ = radius * std::sin(angle);
  has_normal_ = true;
  return radius * std::cos(angle);
}

std::vector<int64_t> RandomPermutation(int64_t n, RandomStream& stream) {
  std::vector<int64_t> order(n);
  for (int64_t i = 0; i < n; ++i) order[i] = i;
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[i], order[stream.Below(i + 1)]);
  return order;
}

}  // namespace prunelab
