#include "ml/onnx/shape_rules.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

std::vector<int> AllAxes(int64_t rank) {
  std::vector<int> axes(static_cast<size_t>(rank));
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

// Where a slice starts or ends on an axis of `size`.
int64_t Clamped(int64_t position, int64_t size, int64_t least, int64_t most) {
  if (position < 0) position = position < -size ? -1 - size : position + size;  // further off than any: below `least`
  return std::clamp(position, least, most);
}

SliceRule Slice(int axis, int64_t size, int64_t start, int64_t end, int64_t step) {
  SliceRule rule;
  rule.axis = axis;
  rule.step = step;
  if (step > 0) {
    rule.start = Clamped(start, size, 0, size);
    const int64_t last = Clamped(end, size, 0, size);
    rule.count = last > rule.start ? (last - rule.start - 1) / step + 1 : 0;
  } else {
    rule.start = Clamped(start, size, -1, size - 1);
    const int64_t last = Clamped(end, size, -1, size - 1);
    rule.count = rule.start > last ? (last - rule.start + 1) / step + 1 : 0;
  }
  return rule;
}

}  // namespace

absl::StatusOr<int> ResolveAxis(const OnnxNode& node, int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) {
    return NodeRefused(node, absl::StrCat("has the axis ", axis, "; its input has ", rank, " dimensions"));
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

absl::StatusOr<std::vector<int>> ResolveAxes(const OnnxNode& node, const std::vector<int64_t>& axes, int64_t rank) {
  std::vector<int> resolved;
  for (const int64_t axis : axes) {
    PRUNELAB_ASSIGN_OR_RETURN(const int at, ResolveAxis(node, axis, rank));
    resolved.push_back(at);
  }
  std::vector<int> sorted = resolved;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    return NodeRefused(node, "names an axis twice");
  }
  return resolved;
}

absl::StatusOr<int64_t> CountElements(const OnnxNode& node, const std::vector<int64_t>& sizes) {
  constexpr int64_t kMost = int64_t{1} << 62;
  int64_t count = 1;
  bool none = false;
  for (const int64_t size : sizes) {
    if (size < 0) return NodeRefused(node, absl::StrCat("makes sizes ", SizesText(sizes), "; must not be negative"));
    none = none || size == 0;
    if (size > 0 && count > kMost / size) return NodeRefused(node, "makes too many elements");
    if (size > 0) count *= size;
  }
  return none ? 0 : count;
}

absl::StatusOr<std::vector<int64_t>> ReshapedSizes(const OnnxGraph& graph, const OnnxNode& node,
                                                   const std::vector<int64_t>& sizes) {
  PRUNELAB_ASSIGN_OR_RETURN(std::vector<int64_t> target, IntsOf(graph, node, "shape", 1, {}));
  const bool zero_is_zero = IntAttribute(node, "allowzero", 0) != 0;
  const std::string asked = SizesText(target);
  int64_t* open = nullptr;
  std::vector<int64_t> known;
  for (size_t k = 0; k < target.size(); ++k) {
    if (target[k] == -1 && open == nullptr) {
      open = &target[k];
      continue;
    }
    if (target[k] == 0 && !zero_is_zero && k < sizes.size()) target[k] = sizes[k];
    known.push_back(target[k]);
  }
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t elements, CountElements(node, sizes));
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t given, CountElements(node, known));
  const bool fits = open == nullptr ? given == elements : given > 0 && elements % given == 0;
  if (!fits) return NodeRefused(node, absl::StrCat("cannot make ", asked, " of ", SizesText(sizes)));
  if (open != nullptr) *open = elements / given;
  return target;
}

absl::StatusOr<std::vector<int64_t>> FlattenedSizes(const OnnxNode& node, const std::vector<int64_t>& sizes) {
  const int64_t rank = static_cast<int64_t>(sizes.size());
  int64_t axis = IntAttribute(node, "axis", 1);
  if (axis != rank) {
    PRUNELAB_ASSIGN_OR_RETURN(axis, ResolveAxis(node, axis, rank));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t before,
                            CountElements(node, std::vector<int64_t>(sizes.begin(), sizes.begin() + axis)));
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t after,
                            CountElements(node, std::vector<int64_t>(sizes.begin() + axis, sizes.end())));
  return std::vector<int64_t>{before, after};
}

absl::StatusOr<std::vector<int>> TransposedOrder(const OnnxNode& node, int64_t rank) {
  std::vector<int64_t> backwards;
  for (int64_t k = rank; k-- > 0;) backwards.push_back(k);
  PRUNELAB_ASSIGN_OR_RETURN(std::vector<int> order, ResolveAxes(node, IntsAttribute(node, "perm", backwards), rank));
  if (static_cast<int64_t>(order.size()) != rank) {
    return NodeRefused(node, absl::StrCat("orders ", order.size(), " dimensions; its input has ", rank));
  }
  return order;
}

absl::StatusOr<std::vector<int>> UnsqueezedAxes(const OnnxGraph& graph, const OnnxNode& node, int64_t rank) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, IntsOf(graph, node, "axes", 1, {}));
  constexpr size_t kMost = 16;
  if (axes.size() > kMost) return NodeRefused(node, "adds too many dimensions");
  PRUNELAB_ASSIGN_OR_RETURN(std::vector<int> resolved,
                            ResolveAxes(node, axes, rank + static_cast<int64_t>(axes.size())));
  std::sort(resolved.begin(), resolved.end());
  return resolved;
}

absl::StatusOr<std::vector<int>> SqueezedAxes(const OnnxGraph& graph, const OnnxNode& node, int64_t rank) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, IntsOf(graph, node, "axes", 1, {}));
  return ResolveAxes(node, axes, rank);
}

absl::StatusOr<SplitRule> ResolveSplit(const OnnxGraph& graph, const OnnxNode& node,
                                       const std::vector<int64_t>& sizes) {
  SplitRule rule;
  PRUNELAB_ASSIGN_OR_RETURN(rule.axis,
                            ResolveAxis(node, IntAttribute(node, "axis", 0), static_cast<int64_t>(sizes.size())));
  PRUNELAB_ASSIGN_OR_RETURN(rule.sizes, IntsOf(graph, node, "split", 1, {}));
  const int64_t size = sizes[rule.axis], parts = static_cast<int64_t>(node.outputs.size());
  if (rule.sizes.empty()) {
    const int64_t each = (size + parts - 1) / parts;
    for (int64_t left = size, k = 0; k < parts; ++k, left -= each) {
      rule.sizes.push_back(std::clamp<int64_t>(left, 0, each));
    }
  }
  int64_t sum = 0;
  for (const int64_t part : rule.sizes) {
    if (part < 0 || part > size) return NodeRefused(node, absl::StrCat("splits off ", part, " of ", size));
    sum += part;
  }
  if (sum != size || rule.sizes.size() != node.outputs.size()) {
    return NodeRefused(node,
                       absl::StrCat("splits ", size, " into ", SizesText(rule.sizes), " for ", parts, " outputs"));
  }
  return rule;
}

absl::StatusOr<std::vector<SliceRule>> ResolveSlices(const OnnxGraph& graph, const OnnxNode& node,
                                                     const std::vector<int64_t>& sizes) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> starts, IntsOf(graph, node, "starts", 1, {}));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> ends, IntsOf(graph, node, "ends", 2, {}));
  std::vector<int64_t> first_axes;
  for (size_t k = 0; k < starts.size() && k < sizes.size(); ++k) first_axes.push_back(static_cast<int64_t>(k));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> named, IntsOf(graph, node, "axes", 3, first_axes));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> steps,
                            IntsOf(graph, node, "steps", 4, std::vector<int64_t>(named.size(), 1)));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int> axes, ResolveAxes(node, named, static_cast<int64_t>(sizes.size())));
  if (starts.size() != axes.size() || ends.size() != axes.size() || steps.size() != axes.size()) {
    return NodeRefused(node, "needs as many starts, ends and steps as axes");
  }
  std::vector<SliceRule> rules;
  for (size_t k = 0; k < axes.size(); ++k) {
    constexpr int64_t kMostStep = int64_t{1} << 62;
    if (steps[k] == 0 || steps[k] > kMostStep || steps[k] < -kMostStep) {
      return NodeRefused(node, absl::StrCat("has the step ", steps[k]));
    }
    rules.push_back(Slice(axes[k], sizes[axes[k]], starts[k], ends[k], steps[k]));
  }
  return rules;
}

absl::StatusOr<std::vector<int>> ReducedAxes(const OnnxGraph& graph, const OnnxNode& node, int64_t rank) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, IntsOf(graph, node, "axes", 1, {}));
  if (axes.empty()) return IntAttribute(node, "noop_with_empty_axes", 0) != 0 ? std::vector<int>() : AllAxes(rank);
  PRUNELAB_ASSIGN_OR_RETURN(std::vector<int> resolved, ResolveAxes(node, axes, rank));
  std::sort(resolved.begin(), resolved.end());
  return resolved;
}

}  // namespace prunelab
