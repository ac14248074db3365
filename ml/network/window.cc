#include "ml/network/window.h"

#include <algorithm>
#include <tuple>

namespace prunelab {
namespace {

// Pads of all four sides, or `padding` at each.
template <typename Op>
void SetPads(const Op& op, Window& window) {
  const bool given = op.pads_size() == 4;
  const auto pad = [&](int side) { return given ? op.pads(side) : op.padding(); };
  window.down.before = pad(0);
  window.across.before = pad(1);
  window.down.after = pad(2);
  window.across.after = pad(3);
}

template <typename Axis>
void SetDilation(Axis& axis, int64_t dilation) {
  axis.dilation = axis.kernel == 1 ? 1 : dilation;
}

template <typename Pool>
Window PoolWindow(const Pool& pool) {
  Window window;
  window.down.kernel = pool.kernel();
  window.across.kernel = pool.has_kernel_width() ? pool.kernel_width() : pool.kernel();
  window.down.stride = pool.stride();
  window.across.stride = pool.has_stride_width() ? pool.stride_width() : pool.stride();
  window.down.ceil = window.across.ceil = pool.ceil_mode();
  SetPads(pool, window);
  return window;
}

}  // namespace

int64_t WindowAxis::Positions(int64_t size) const {
  const int64_t room = size + before + after - extent() + (ceil ? stride - 1 : 0);
  if (room < 0) return 0;
  const int64_t positions = room / stride + 1;
  return ceil && (positions - 1) * stride >= size + before ? positions - 1 : positions;
}

int64_t WindowAxis::Reach(int64_t size) const { return (Positions(size) - 1) * stride + extent() - before - size; }

bool WindowAxis::EachHasPixels(int64_t size) const {
  const int64_t positions = Positions(size);
  for (int64_t k = 0; k < positions; ++k) {
    const int64_t start = k * stride - before;
    const int64_t outside =
        start < 0 ? (-start + dilation - 1) / dilation : 0;  // pixels of the window before the first
    if (outside >= kernel || start + outside * dilation >= size) return false;
  }
  return true;
}

bool WindowAxis::operator==(const WindowAxis& other) const {
  const auto all = [](const WindowAxis& a) {
    return std::tie(a.kernel, a.stride, a.dilation, a.before, a.after, a.ceil);
  };
  return all(*this) == all(other);
}

Window WindowOf(const Conv2d& conv) {
  Window window;
  window.down.kernel = conv.kernel_height();
  window.across.kernel = conv.kernel_width();
  window.down.stride = conv.stride();
  window.across.stride = conv.has_stride_width() ? conv.stride_width() : conv.stride();
  SetDilation(window.down, conv.dilation());
  SetDilation(window.across, conv.has_dilation_width() ? conv.dilation_width() : conv.dilation());
  SetPads(conv, window);
  return window;
}

Window WindowOf(const MaxPool2d& pool) {
  Window window = PoolWindow(pool);
  SetDilation(window.down, pool.dilation());
  SetDilation(window.across, pool.dilation());
  return window;
}

Window WindowOf(const AveragePool2d& pool) { return PoolWindow(pool); }

TransposedWindow WindowOf(const ConvTranspose2d& conv) {
  TransposedWindow window;
  TransposedAxis &down = window.down, &across = window.across;
  down.kernel = conv.kernel_height();
  across.kernel = conv.kernel_width();
  down.stride = conv.stride();
  across.stride = conv.has_stride_width() ? conv.stride_width() : conv.stride();
  SetDilation(down, conv.dilation());
  SetDilation(across, conv.has_dilation_width() ? conv.dilation_width() : conv.dilation());
  down.padding = conv.padding();
  across.padding = conv.has_padding_width() ? conv.padding_width() : conv.padding();
  down.output_padding = conv.output_padding();
  across.output_padding = conv.has_output_padding_width() ? conv.output_padding_width() : conv.output_padding();
  return window;
}

bool IsPlain3x3(const Window& window) {
  WindowAxis plain;
  plain.kernel = 3;
  plain.before = plain.after = 1;
  return window == Window{plain, plain};
}

}  // namespace prunelab
