// Loops that reach the most that a core can do. machine_benchmark times them, as the bound that kernels are compared
// with. machine_bounds.cc is compiled once for each instruction set.
#pragma once

#include <cstdint>

namespace prunelab {

struct MachineBounds {
  // Computes `rounds` times `flops_per_round` floating-point operations, fused multiply-adds of float32 in registers.
  float (*multiply_add)(int64_t rounds);
  int64_t flops_per_round;
  // The loops of McCalpin's STREAM on float32: the sum of a; b = a; c = a + 3 b.
  float (*read)(const float* a, int64_t size);
  void (*copy)(const float* a, float* b, int64_t size);
  void (*triad)(const float* a, const float* b, float* c, int64_t size);
};

namespace avx2 {
MachineBounds Bounds();
}
namespace avx512 {
MachineBounds Bounds();
}

}  // namespace prunelab
