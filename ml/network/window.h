// The windows that convolutions and poolings slide over their maps, with everything filled in that a network may leave
// unset. Only this file knows what an unset field means; whatever needs a stride, a padding or a dilation asks here.
//
//   const Window window = WindowOf(node.conv2d());
//   const int64_t height = window.down.Positions(input.height);   // as in PyTorch
//   if (window.HasEqualPads()) { ... at::conv2d(x, weight, {}, window.Strides(), window.Pads(), window.Dilations()) }
#pragma once

#include <array>
#include <cstdint>

#include "ml/network/network.pb.h"

namespace prunelab {

// Along the height or along the width. Pixels.
struct WindowAxis {
  int64_t kernel = 1, stride = 1;
  int64_t dilation = 1;           // 1 for a kernel of one pixel, whatever the network says: it means nothing there
  int64_t before = 0, after = 0;  // padding at the top and at the bottom, or at the left and at the right
  bool ceil = false;              // a last window may reach beyond the padding

  int64_t extent() const { return dilation * (kernel - 1) + 1; }
  // How many windows there are over `size` pixels, as in PyTorch: a last one that reaches beyond the padding must begin
  // inside of the pixels or the padding before them. 0: none fits.
  int64_t Positions(int64_t size) const;
  // How many pixels after the last one the windows reach, at least the padding: with so much padding there are as many
  // windows without `ceil`. Negative where rounding down leaves pixels that no window reaches.
  int64_t Reach(int64_t size) const;
  // Whether each window has one of the pixels.
  bool EachHasPixels(int64_t size) const;

  bool operator==(const WindowAxis& other) const;
};

struct Window {
  WindowAxis down, across;

  // Whether both sides of each axis are padded alike, as LibTorch's own calls have it.
  bool HasEqualPads() const { return down.before == down.after && across.before == across.after; }

  // For LibTorch's calls: height, width. Pads are those before.
  std::array<int64_t, 2> Kernel() const { return {down.kernel, across.kernel}; }
  std::array<int64_t, 2> Strides() const { return {down.stride, across.stride}; }
  std::array<int64_t, 2> Pads() const { return {down.before, across.before}; }
  std::array<int64_t, 2> Dilations() const { return {down.dilation, across.dilation}; }

  bool operator==(const Window& other) const { return down == other.down && across == other.across; }
};

Window WindowOf(const Conv2d& conv);
Window WindowOf(const MaxPool2d& pool);
Window WindowOf(const AveragePool2d& pool);

// Of a transposed convolution, which adds a kernel to its output for each pixel of the input. Along one axis; pixels.
struct TransposedAxis {
  int64_t kernel = 1, stride = 1, dilation = 1;  // dilation: as in WindowAxis
  int64_t padding = 0, output_padding = 0;       // cut off at both sides; added at the end

  int64_t Size(int64_t size) const {
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + output_padding;
  }
};

struct TransposedWindow {
  TransposedAxis down, across;

  // For LibTorch's calls: height, width.
  std::array<int64_t, 2> Strides() const { return {down.stride, across.stride}; }
  std::array<int64_t, 2> Pads() const { return {down.padding, across.padding}; }
  std::array<int64_t, 2> OutputPads() const { return {down.output_padding, across.output_padding}; }
  std::array<int64_t, 2> Dilations() const { return {down.dilation, across.dilation}; }
};

TransposedWindow WindowOf(const ConvTranspose2d& conv);

// Whether it is the window of 3x3 pixels around each pixel, the one that the project's own kernels compute.
bool IsPlain3x3(const Window& window);

}  // namespace prunelab
