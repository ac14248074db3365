#include "ml/network/resampling.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>
#include <vector>

namespace prunelab {
namespace {

// Whether LibTorch, which computes rows in float, takes the right ones.
bool FloatsAreRight(int64_t size, int64_t result) {
  const float scale = static_cast<float>(size) / static_cast<float>(result);
  for (int64_t row = 0; row < result; ++row) {
    if (static_cast<int64_t>(std::floor(static_cast<float>(row) * scale)) != row * size / result) return false;
  }
  return true;
}

at::Tensor Nearest(const at::Tensor& x, int64_t height, int64_t width) {
  if (FloatsAreRight(x.size(2), height) && FloatsAreRight(x.size(3), width)) {
    return at::upsample_nearest2d(x, {height, width});
  }
  const auto rows = [&](int64_t size, int64_t result) {
    return at::arange(result, at::TensorOptions(at::kLong).device(x.device())).mul(size).floor_divide(result);
  };
  return x.index_select(2, rows(x.size(2), height)).index_select(3, rows(x.size(3), width));
}

// x with rows (dimension 2) or columns (3) around it, which are slices of it: so the backward pass adds in a fixed
// order on every device, unlike that of LibTorch's own padding.
at::Tensor PaddedAlong(int64_t dimension, Pad::Function function, int64_t before, int64_t after, const at::Tensor& x) {
  const int64_t size = x.size(dimension);
  const auto slice = [&](int64_t start, int64_t count) {
    if (function == Pad::REFLECT) return x.narrow(dimension, start, count).flip(dimension);
    std::vector<int64_t> sizes = x.sizes().vec();
    sizes[dimension] = count;
    return x.narrow(dimension, start, 1).expand(sizes);
  };
  std::vector<at::Tensor> parts = {x};
  if (before > 0) parts.insert(parts.begin(), slice(function == Pad::REFLECT ? 1 : 0, before));
  if (after > 0) parts.push_back(slice(function == Pad::REFLECT ? size - 1 - after : size - 1, after));
  return parts.size() == 1 ? x : at::cat(parts, dimension);
}

}  // namespace

std::vector<RowBlend> ResizedRows(Resize::Function function, int64_t size, int64_t result) {
  std::vector<RowBlend> rows(result);
  for (int64_t row = 0; row < result; ++row) {
    RowBlend& blend = rows[row];
    // Where in the input the row is, in parts of `whole`.
    int64_t place = 0;
    if (function == Resize::NEAREST) {
      place = row * size / result;
    } else if (function == Resize::BILINEAR) {
      place = std::max<int64_t>((2 * row + 1) * size - result, 0);
      blend.whole = 2 * result;
    } else if (result > 1) {
      place = row * (size - 1);
      blend.whole = result - 1;
    }
    blend.first = place / blend.whole;
    blend.second = std::min(blend.first + 1, size - 1);
    blend.part = place % blend.whole;
    if (blend.part == 0 || blend.second == blend.first) {
      blend.second = blend.first;
      blend.part = 0;
    }
  }
  return rows;
}

std::vector<int64_t> PaddedRows(Pad::Function function, int64_t size, int64_t before, int64_t after) {
  std::vector<int64_t> rows;
  for (int64_t row = -before; row < size + after; ++row) {
    const bool inside = row >= 0 && row < size;
    if (inside) {
      rows.push_back(row);
    } else if (function == Pad::CONSTANT) {
      rows.push_back(-1);
    } else if (function == Pad::REFLECT) {
      rows.push_back(row < 0 ? -row : 2 * (size - 1) - row);
    } else {
      rows.push_back(row < 0 ? 0 : size - 1);
    }
  }
  return rows;
}

std::vector<RowRange> AdaptiveRows(int64_t size, int64_t result) {
  std::vector<RowRange> rows(result);
  for (int64_t row = 0; row < result; ++row) {
    rows[row] = {row * size / result, ((row + 1) * size + result - 1) / result};
  }
  return rows;
}

at::Tensor RunResize(const Resize& resize, const at::Tensor& x) {
  if (resize.function() == Resize::NEAREST) return Nearest(x, resize.height(), resize.width());
  return at::upsample_bilinear2d(x, {resize.height(), resize.width()},
                                 /*align_corners=*/resize.function() == Resize::BILINEAR_ALIGNED);
}

at::Tensor RunPad(const Pad& pad, const at::Tensor& x) {
  const int64_t top = pad.pads(0), left = pad.pads(1), bottom = pad.pads(2), right = pad.pads(3);
  if (pad.function() == Pad::CONSTANT) return at::constant_pad_nd(x, {left, right, top, bottom}, pad.value());
  return PaddedAlong(3, pad.function(), left, right, PaddedAlong(2, pad.function(), top, bottom, x));
}

at::Tensor RunAdaptivePool2d(const AdaptivePool2d& pool, const at::Tensor& x) {
  const std::array<int64_t, 2> size = {pool.height(), pool.width()};
  if (pool.function() == AdaptivePool2d::AVERAGE) return at::adaptive_avg_pool2d(x, size);
  return std::get<0>(at::adaptive_max_pool2d(x, size));
}

}  // namespace prunelab
