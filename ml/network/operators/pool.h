// What pooling by sliding windows has in common, of the messages MaxPool2d and AveragePool2d.
#pragma once

#include <ATen/ATen.h>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"
#include "ml/network/window.h"

namespace prunelab {

// `window` is that of `pool`. `needs_pixels`: each window must have a pixel of the input.
template <typename Pool>
absl::StatusOr<NodeShape> PoolShape(const Node& node, const Pool& pool, const Window& window, bool needs_pixels,
                                    const NodeShape& input) {
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "kernel", pool.kernel()));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "kernel_width", window.across.kernel));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "stride", pool.stride()));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "stride_width", window.across.stride));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "padding", pool.padding(), 0));
  PRUNELAB_RETURN_IF_ERROR(CheckPads(node, pool.pads()));
  for (const WindowAxis& axis : {window.down, window.across}) {
    if (pool.pads_size() == 0 && 2 * pool.padding() > axis.extent()) {
      return NodeError(node,
                       absl::StrCat("padding ", pool.padding(), " is more than half of the kernel ", axis.extent()));
    }
  }
  const auto positions = [&](const WindowAxis& axis, int64_t size) -> absl::StatusOr<int64_t> {
    PRUNELAB_ASSIGN_OR_RETURN(const int64_t count, WindowOutput(node, size, axis));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "output", count));
    if (needs_pixels && !axis.EachHasPixels(size)) {
      return NodeError(node, absl::StrCat("a window of ", axis.extent(), " pixels lies in the padding alone: ",
                                          axis.before, " and ", axis.after, " pixels around ", size));
    }
    return count;
  };
  NodeShape out = input;
  PRUNELAB_ASSIGN_OR_RETURN(out.height, positions(window.down, input.height));
  PRUNELAB_ASSIGN_OR_RETURN(out.width, positions(window.across, input.width));
  return out;
}

// `pool` pools [1, channels, height, width]. `outside`: whether the padding counts.
template <typename F>
ChannelPictures Pooled(const NodeView& view, const Window& window, Computed computed, bool outside,
                       const ChannelPictures& input, F pool) {
  const NodeShape& shape = view.shape;
  const ChannelPictures coarse = Coarsened(input);
  if (!coarse.values.ne(0).any().template item<bool>()) {
    return ZeroPictures(shape.channels, shape.height, shape.width);
  }
  return ComputedPictures(coarse, SlidRows(coarse.rows, window.down, computed, outside),
                          SlidRows(coarse.columns, window.across, computed, outside), pool);
}

}  // namespace prunelab
