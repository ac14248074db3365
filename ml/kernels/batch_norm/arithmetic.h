// The arithmetic of batch normalization, and of the addition and the ReLU after it, for one element and for one
// channel. Device and host compile the same source; device_threads.h calls it for each thread.
//
// Products that are added to something call MultiplyAdd, and those that must be rounded first call Multiply, so that no
// compiler has a choice: host and device give the same bits.
#pragma once

#include <math.h>

#include <cstdint>

#include "ml/kernels/device_elements.h"

namespace prunelab {

// a * b, rounded before anything is done with it.
PRUNELAB_HOST_DEVICE inline double Multiply(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

// NaN passes, as in LibTorch's relu and its gradient.
template <typename T>
PRUNELAB_HOST_DEVICE inline T ReluOf(T x) {
  return x < T(0) ? T(0) : x;
}
template <typename T>
PRUNELAB_HOST_DEVICE inline T GatedBy(T output, T gradient) {
  return output <= T(0) ? T(0) : gradient;
}

// An element after BN, before addition and ReLU. The forward and the backward pass both call this, so that they agree
// on which elements the ReLU lets through.
template <typename T>
PRUNELAB_HOST_DEVICE inline T Normalized(T y, T scale, T shift) {
  return MultiplyAdd(y, scale, shift);
}

// The gradient of y from the gated gradient.
template <typename T>
PRUNELAB_HOST_DEVICE inline T InputGradient(T gradient, T y, T scale, T mean, T of_y, T constant) {
  return MultiplyAdd(scale, gradient, MultiplyAdd(of_y, y - mean, constant));
}

// Two sums over a channel's rows.
struct ChannelSums {
  double first = 0, second = 0;
};

// BN as a scale and a shift of a channel: its output is y * scale + shift.
struct ChannelAffine {
  double mean, inverse, scale, shift;
};

PRUNELAB_HOST_DEVICE inline ChannelAffine AffineOf(double mean, double variance, double gamma, double beta,
                                                   double epsilon) {
  ChannelAffine affine;
  affine.mean = mean;
  affine.inverse = 1 / sqrt(variance + epsilon);
  affine.scale = Multiply(gamma, affine.inverse);
  affine.shift = MultiplyAdd(-mean, affine.scale, beta);
  return affine;
}

struct ChannelMoments {
  double mean, variance;  // of the batch; the variance is biased
};

// `sums`: of the differences d to `pivot`, and of their squares, over `rows` rows.
PRUNELAB_HOST_DEVICE inline ChannelMoments MomentsOf(ChannelSums sums, double pivot, double rows) {
  const double shifted = sums.first / rows;
  const double variance = MultiplyAdd(-shifted, shifted, sums.second / rows);
  return {pivot + shifted, variance < 0 ? 0 : variance};  // NaN stays NaN
}

// A running statistic after a batch.
PRUNELAB_HOST_DEVICE inline double RunningAfter(double running, double of_batch, double momentum) {
  return MultiplyAdd(momentum, of_batch, Multiply(1 - momentum, running));
}

struct ChannelGradients {
  double gamma, beta, of_y, constant;  // the last two are InputGradient's
};

// `sums`: of the gated gradients g, and of g * (y - mean), over `rows` rows.
PRUNELAB_HOST_DEVICE inline ChannelGradients GradientsOf(ChannelSums sums, double scale, double inverse, double rows) {
  ChannelGradients gradients;
  gradients.gamma = Multiply(sums.second, inverse);
  gradients.beta = sums.first;
  gradients.of_y = Multiply(Multiply(Multiply(-scale, inverse), inverse), sums.second) / rows;
  gradients.constant = Multiply(-scale, sums.first) / rows;
  return gradients;
}

}  // namespace prunelab
