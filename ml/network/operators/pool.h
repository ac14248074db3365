// What pooling by sliding windows has in common, of a message with kernel, stride and padding.
#pragma once

#include <ATen/ATen.h>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {

template <typename Pool>
absl::StatusOr<NodeShape> PoolShape(const Node& node, const Pool& pool, const NodeShape& input) {
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "kernel", pool.kernel()));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "stride", pool.stride()));
  PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "padding", pool.padding(), 0));
  if (2 * pool.padding() > pool.kernel()) {
    return NodeError(node,
                     absl::StrCat("padding ", pool.padding(), " is more than half of the kernel ", pool.kernel()));
  }
  NodeShape out = input;
  PRUNELAB_ASSIGN_OR_RETURN(out.height,
                            WindowOutput(node, input.height, pool.kernel(), pool.stride(), pool.padding(), 1));
  PRUNELAB_ASSIGN_OR_RETURN(out.width,
                            WindowOutput(node, input.width, pool.kernel(), pool.stride(), pool.padding(), 1));
  return out;
}

// `slide` pools [1, channels, height, width].
template <typename Pool, typename F>
ChannelPictures Pooled(const NodeView& view, const Pool& pool, Border border, const ChannelPictures& input, F slide) {
  const NodeShape& shape = view.shape;
  const ChannelPictures coarse = Coarsened(input);
  if (!coarse.values.ne(0).any().template item<bool>()) {
    return ZeroPictures(shape.channels, shape.height, shape.width);
  }
  const Window window = {pool.kernel(), pool.stride(), pool.padding(), 1, border};
  return Slid(coarse, window, window, slide);
}

}  // namespace prunelab
