// Batch normalization on the CPU with what follows it, in channels_last memory: BN, BN + ReLU, BN + add, BN + add +
// ReLU, forward and backward, for float and double. A ReLU may have a ceiling, as ReLU6 has.
//
// It is vectorized over channels for AVX2 and AVX-512 (rows.h), chosen when the program runs. LibTorch's threads share
// chunks that depend on the shape alone, and the chunks' sums are added in order, so any number of threads gives the
// same bits. Channels that are not stored (BatchNormLayout) cost no memory and are computed as if they were zero.
// fused_batch_norm.h does the same on tensors, also on a CUDA device.
//
// A training step of BN -> ReLU:
//   BatchNormStatistics(layout, y, mean, variance);
//   scale = gamma / sqrt(variance + epsilon), shift = beta - mean * scale
//   BatchNormForward(layout, y, scale, shift, nullptr, true, out);
//   BatchNormBackward(layout, gradient, y, nullptr, scale, shift, mean, inverse, true, nullptr, dgamma, dbeta, dy, {});
#pragma once

#include <cstdint>
#include <limits>

namespace prunelab {

// max(0, x) or, with a ceiling, min(ceiling, max(0, x)); or x, if it is off. Its gradient is 0 at 0 and at the ceiling,
// as in PyTorch's ReLU and ReLU6; NaN passes.
struct Rectifier {
  Rectifier(bool is_on = false, double most = std::numeric_limits<double>::infinity()) : on(is_on), ceiling(most) {}
  bool on;
  double ceiling;

  explicit operator bool() const { return on; }
  bool has_ceiling() const { return ceiling != std::numeric_limits<double>::infinity(); }
};

// Memory is channels_last: rows (a pixel of an image each) of channels.
//
// Of `channels` channels only `stored` are in the convolution's output y, [rows, stored]. The others are 0 in each row,
// like the outputs of dead filters. The j-th stored channel is channel position[j] of [0, channels). So the kernels
// read compact memory and write full-width memory, and the reverse, without copies in between.
struct BatchNormLayout {
  int64_t rows = 0;
  int64_t channels = 0;
  int64_t stored = 0;
  const int32_t* position = nullptr;  // [stored], in ascending order; null if stored == channels
};

// Mean and (biased) variance of each of the layout's channels over its rows; 0 for channels that are not stored. y:
// [rows, stored].
template <typename T>
void BatchNormStatistics(const BatchNormLayout& layout, const T* y, double* mean, double* variance);

// out = y * scale + shift, plus `addend` if it is not null, then the ReLU if it is on. addend, out: [rows, channels];
// scale, shift: [channels].
template <typename T>
void BatchNormForward(const BatchNormLayout& layout, const T* y, const T* scale, const T* shift, const T* addend,
                      Rectifier relu, T* out);

// The backward pass of training, where scale = gamma * inverse and inverse = 1 / sqrt(variance + epsilon). `gradient`:
// [rows, channels], of the output. With relu and an addend, `out` is the forward pass's output and `gated` receives the
// addend's gradient; otherwise both are null (without relu the addend's gradient is `gradient`). Written: dgamma, dbeta
// [channels], and the gradient of y as dy [rows, channels] and, for the stored channels alone, as dy_stored [rows,
// stored]. Either of these two may be null; dy_stored must be null if the layout has no positions.
template <typename T>
void BatchNormBackward(const BatchNormLayout& layout, const T* gradient, const T* y, const T* out, const T* scale,
                       const T* shift, const T* mean, const double* inverse, Rectifier relu, T* gated, double* dgamma,
                       double* dbeta, T* dy, T* dy_stored);

// Plain loops that the functions above must equal up to rounding: training forward and backward from gamma and beta, in
// full width (`y` [rows, channels]). `addend` may be null.
void BatchNormReference(int64_t rows, int64_t channels, const double* y, const double* gamma, const double* beta,
                        double epsilon, const double* addend, Rectifier relu, const double* gradient, double* out,
                        double* dy, double* daddend, double* dgamma, double* dbeta);

}  // namespace prunelab
