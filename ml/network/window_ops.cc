#include "ml/network/window_ops.h"

#include <ATen/ATen.h>

#include <limits>

namespace prunelab {
namespace {

// x with exactly the pixels that the windows read: without `ceil`, and without padding, there are as many windows.
at::Tensor WithReach(const Window& window, const at::Tensor& x, double value) {
  return at::constant_pad_nd(
      x, {window.across.before, window.across.Reach(x.size(3)), window.down.before, window.down.Reach(x.size(2))},
      value);
}

// Whether LibTorch's pooling takes the window's padding: equal on both sides, and at most half of the kernel.
bool IsPooledAtOnce(const Window& window) {
  return window.HasEqualPads() && 2 * window.down.before <= window.down.kernel &&
         2 * window.across.before <= window.across.kernel;
}

at::Tensor Sums(const Window& window, const at::Tensor& x) {
  return at::avg_pool2d(x, window.Kernel(), window.Strides(), /*padding=*/0, /*ceil_mode=*/false,
                        /*count_include_pad=*/false, /*divisor_override=*/1);
}

}  // namespace

at::Tensor Padded(const Window& window, const at::Tensor& x) {
  return at::constant_pad_nd(x, {window.across.before, window.across.after, window.down.before, window.down.after}, 0);
}

Window WithoutPads(Window window) {
  window.down.before = window.down.after = window.across.before = window.across.after = 0;
  return window;
}

at::Tensor RunConv2d(const Window& window, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     int64_t groups) {
  if (!window.HasEqualPads()) return RunConv2d(WithoutPads(window), Padded(window, x), weight, bias, groups);
  return at::conv2d(x, weight, bias, window.Strides(), window.Pads(), window.Dilations(), groups);
}

at::Tensor RunConvTranspose2d(const TransposedWindow& window, const at::Tensor& x, const at::Tensor& weight,
                              const at::Tensor& bias, int64_t groups) {
  return at::conv_transpose2d(x, weight, bias, window.Strides(), window.Pads(), window.OutputPads(), groups,
                              window.Dilations());
}

at::Tensor RunMaxPool2d(const MaxPool2d& pool, const at::Tensor& x) {
  const Window window = WindowOf(pool);
  if (IsPooledAtOnce(window)) {
    return at::max_pool2d(x, window.Kernel(), window.Strides(), window.Pads(), window.Dilations(), pool.ceil_mode());
  }
  return at::max_pool2d(WithReach(window, x, -std::numeric_limits<double>::infinity()), window.Kernel(),
                        window.Strides(), /*padding=*/0, window.Dilations());
}

at::Tensor RunAveragePool2d(const AveragePool2d& pool, const at::Tensor& x) {
  const Window window = WindowOf(pool);
  if (IsPooledAtOnce(window)) {
    return at::avg_pool2d(x, window.Kernel(), window.Strides(), window.Pads(), pool.ceil_mode(),
                          pool.count_include_pad());
  }
  // Sums, divided by how many of the padded pixels each window has, or of the pixels themselves. Beyond the padding
  // nothing counts.
  at::Tensor counts = at::ones({1, 1, x.size(2), x.size(3)}, x.options().requires_grad(false));
  if (pool.count_include_pad()) {
    counts = at::constant_pad_nd(counts,
                                 {window.across.before, window.across.after, window.down.before, window.down.after}, 1);
    const auto beyond = [](const WindowAxis& axis, int64_t size) { return axis.Reach(size) - axis.after; };
    counts = at::constant_pad_nd(counts, {0, beyond(window.across, x.size(3)), 0, beyond(window.down, x.size(2))}, 0);
  } else {
    counts = WithReach(window, counts, 0);
  }
  return Sums(window, WithReach(window, x, 0)) / Sums(window, counts);
}

}  // namespace prunelab
