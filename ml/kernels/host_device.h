// Marks functions that both the host and a CUDA device run. Their headers are plain C++, so tests on the host cover the
// same arithmetic that the device runs.
//
//   template <typename T>
//   PRUNELAB_HOST_DEVICE T Square(T x) { return x * x; }
#pragma once

#ifdef __CUDACC__
#define PRUNELAB_HOST_DEVICE __host__ __device__
#else
#define PRUNELAB_HOST_DEVICE
#endif

// Before a loop that a device must unroll, because it indexes what is to stay in registers.
#ifdef __CUDA_ARCH__
#define PRUNELAB_UNROLL _Pragma("unroll")
#else
#define PRUNELAB_UNROLL
#endif
