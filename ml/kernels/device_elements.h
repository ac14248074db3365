// What the threads of this project's CUDA kernels read, write and add up, as plain C++: the host compiles it too, so
// that tests on the host run the same code, with the same bits.
#pragma once

#include <math.h>

#include "ml/kernels/host_device.h"

namespace prunelab {

// `kVector` neighbouring elements, read and written at once.
template <typename T, int kVector>
struct alignas(sizeof(T) * kVector) Pack {
  T at[kVector];
};
template <int kVector, typename T>
PRUNELAB_HOST_DEVICE inline Pack<T, kVector> LoadPack(const T* from) {
  return *reinterpret_cast<const Pack<T, kVector>*>(from);
}
template <int kVector, typename T>
PRUNELAB_HOST_DEVICE inline void StorePack(T* to, const Pack<T, kVector>& pack) {
  *reinterpret_cast<Pack<T, kVector>*>(to) = pack;
}

// a * b + c, rounded once.
PRUNELAB_HOST_DEVICE inline float MultiplyAdd(float a, float b, float c) { return fmaf(a, b, c); }
PRUNELAB_HOST_DEVICE inline double MultiplyAdd(double a, double b, double c) { return fma(a, b, c); }

}  // namespace prunelab
