// Vectors of floats for the sources that instruction_set_libraries() (defs.bzl) compiles once for each instruction set.
// Each of them gets its own, in its own namespace: nothing here may be linked once for two sets.
#pragma once

#include <cstdint>

namespace prunelab {
namespace PRUNELAB_INSTRUCTION_SET {
namespace {

typedef float Float8 __attribute__((vector_size(8 * sizeof(float))));
#ifdef __AVX512F__
typedef float Widest __attribute__((vector_size(16 * sizeof(float))));
#else
using Widest = Float8;
#endif

// How many T's there are in V: a vector of them, or T itself.
template <typename V, typename T = float>
constexpr int Lanes() {
  return static_cast<int>(sizeof(V) / sizeof(T));
}

// From and to memory of any alignment.
template <typename V, typename T>
inline __attribute__((always_inline)) V Load(const T* from) {
  V value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
template <typename V, typename T>
inline __attribute__((always_inline)) void Store(T* to, V value) {
  __builtin_memcpy(to, &value, sizeof value);
}

}  // namespace
}  // namespace PRUNELAB_INSTRUCTION_SET
}  // namespace prunelab
