// The rules by which ONNX's operators on shapes choose sizes and positions. They are the same for constants, which are
// computed (fold.h), and for values that depend on images, whose views change (view.h).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/onnx/graph.h"

namespace prunelab {

// A dimension that may be counted from the end, in [0, rank).
absl::StatusOr<int> ResolveAxis(const OnnxNode& node, int64_t axis, int64_t rank);
absl::StatusOr<std::vector<int>> ResolveAxes(const OnnxNode& node, const std::vector<int64_t>& axes, int64_t rank);

// The product of sizes; an error where it is larger than 2^62.
absl::StatusOr<int64_t> CountElements(const OnnxNode& node, const std::vector<int64_t>& sizes);

// Reshape: the new sizes, with 0 (as it was) and -1 (what is left) resolved.
absl::StatusOr<std::vector<int64_t>> ReshapedSizes(const OnnxGraph& graph, const OnnxNode& node,
                                                   const std::vector<int64_t>& sizes);
// Flatten: two dimensions.
absl::StatusOr<std::vector<int64_t>> FlattenedSizes(const OnnxNode& node, const std::vector<int64_t>& sizes);
// Transpose: dimension k of the result is dimension order[k].
absl::StatusOr<std::vector<int>> TransposedOrder(const OnnxNode& node, int64_t rank);
// Unsqueeze: where the new dimensions are in the result, ascending.
absl::StatusOr<std::vector<int>> UnsqueezedAxes(const OnnxGraph& graph, const OnnxNode& node, int64_t rank);
// Squeeze: which dimensions go; empty where all of size 1 do.
absl::StatusOr<std::vector<int>> SqueezedAxes(const OnnxGraph& graph, const OnnxNode& node, int64_t rank);
// Split: the axis, and how many of it each output has.
struct SplitRule {
  int axis = 0;
  std::vector<int64_t> sizes;
};
absl::StatusOr<SplitRule> ResolveSplit(const OnnxGraph& graph, const OnnxNode& node, const std::vector<int64_t>& sizes);
// Slice: of some axes, the positions that are taken: start, start + step, ..., `count` of them.
struct SliceRule {
  int axis = 0;
  int64_t start = 0, step = 1, count = 0;
};
absl::StatusOr<std::vector<SliceRule>> ResolveSlices(const OnnxGraph& graph, const OnnxNode& node,
                                                     const std::vector<int64_t>& sizes);
// Reduce*: the axes, ascending.
absl::StatusOr<std::vector<int>> ReducedAxes(const OnnxGraph& graph, const OnnxNode& node, int64_t rank);

}  // namespace prunelab
