// Functions that both the host and a CUDA device run. Their headers are plain C++, so that the host's tests cover the
// very arithmetic of the device.
//
//   template <typename T>
//   PRUNELAB_HOST_DEVICE T Square(T x) { return x * x; }
#pragma once

#ifdef __CUDACC__
#define PRUNELAB_HOST_DEVICE __host__ __device__
#else
#define PRUNELAB_HOST_DEVICE
#endif
