// Means, sums and maxima over rows and columns.
#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/converters/constants.h"
#include "ml/onnx/converters/tables.h"
#include "ml/onnx/shape_rules.h"

namespace prunelab {
namespace {

enum class Reduction { kMean, kSum, kMax };

// How much of rows and columns is reduced.
struct Reduced {
  int64_t height = 1, width = 1;
  View view;  // what is left
};

absl::StatusOr<Reduced> Reduce(const OnnxNode& node, const Live& live, const std::vector<int>& axes, bool keep) {
  Reduced reduced;
  for (int k = 0; k < static_cast<int>(live.view.size()); ++k) {
    if (std::count(axes.begin(), axes.end(), k) == 0) {
      reduced.view.push_back(live.view[k]);
      continue;
    }
    for (const Atom& atom : live.view[k]) {
      if (atom.axis == Axis::kHeight) {
        reduced.height *= atom.size;
      } else if (atom.axis == Axis::kWidth) {
        reduced.width *= atom.size;
      } else {
        return NodeRefused(node, "reduces channels or images; only rows and columns are known");
      }
    }
    if (keep) reduced.view.emplace_back();
  }
  return reduced;
}

prunelab::Node PoolOf(Reduction reduction, bool rows, bool columns, const Reduced& reduced) {
  prunelab::Node op;
  if (rows && columns) {
    if (reduction != Reduction::kMax) {
      op.mutable_global_average_pool();
    } else {
      op.mutable_adaptive_pool2d()->set_function(AdaptivePool2d::MAX);
    }
    return op;
  }
  const int64_t height = rows ? reduced.height : 1, width = columns ? reduced.width : 1;
  const auto set = [&](auto* pool) {
    pool->set_kernel(height);
    pool->set_kernel_width(width);
    pool->set_stride(1);
  };
  if (reduction == Reduction::kMax) {
    set(op.mutable_max_pool2d());
  } else {
    set(op.mutable_average_pool2d());
  }
  return op;
}

absl::StatusOr<Live> EmitReduction(Converter& converter, const OnnxNode& node, Reduction reduction, const Live& live,
                                   const Reduced& reduced) {
  const NodeShape in = converter.shape(live);
  const bool rows = reduced.height == in.height, columns = reduced.width == in.width;
  if ((!rows && reduced.height != 1) || (!columns && reduced.width != 1)) {
    return NodeRefused(node, "reduces a part of the rows or columns");
  }
  Live result = {live.node, reduced.view};
  if (reduced.height == 1 && reduced.width == 1) return result;
  PRUNELAB_ASSIGN_OR_RETURN(result.node, converter.Emit(node, PoolOf(reduction, rows, columns, reduced), {live.node}));
  if (reduction != Reduction::kSum) return result;
  const double count = static_cast<double>(reduced.height) * static_cast<double>(reduced.width);
  return EmitScale(converter, node, result, at::full({1}, count, at::kDouble), {}, {});
}

template <Reduction reduction>
absl::Status ConvertReduction(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const Live live, converter.Input(node, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int> axes,
                            ReducedAxes(converter.graph(), node, static_cast<int64_t>(live.view.size())));
  PRUNELAB_ASSIGN_OR_RETURN(const Reduced reduced, Reduce(node, live, axes, IntAttribute(node, "keepdims", 1) != 0));
  PRUNELAB_ASSIGN_OR_RETURN(const Live result, EmitReduction(converter, node, reduction, live, reduced));
  converter.SetOutput(node, result);
  return absl::OkStatus();
}

template <Reduction reduction>
absl::Status ConvertGlobalPool(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const int input, converter.MapInput(node, 0));
  const Live live = converter.Whole(input);
  PRUNELAB_ASSIGN_OR_RETURN(const Reduced reduced, Reduce(node, live, {2, 3}, /*keep=*/true));
  PRUNELAB_ASSIGN_OR_RETURN(const Live result, EmitReduction(converter, node, reduction, live, reduced));
  converter.SetOutput(node, result);
  return absl::OkStatus();
}

// Of slices of rows or of columns (patterns.h), which must be those of an adaptive pool.
absl::Status ConvertAdaptivePool(Converter& converter, const OnnxNode& node) {
  PRUNELAB_ASSIGN_OR_RETURN(const int input, converter.MapInput(node, 0));
  const NodeShape in = converter.shape({input, {}});
  PRUNELAB_ASSIGN_OR_RETURN(const int axis, ResolveAxis(node, IntAttribute(node, "axis", 0), 4));
  const std::vector<int64_t> starts = IntsAttribute(node, "starts", {}), ends = IntsAttribute(node, "ends", {});
  const int64_t size = axis == 2 ? in.height : in.width, made = static_cast<int64_t>(starts.size());
  bool fits = axis >= 2;
  for (int64_t k = 0; k < made && fits; ++k) {
    fits = starts[k] == k * size / made && ends[k] == ((k + 1) * size + made - 1) / made;
  }
  if (!fits) return NodeRefused(node, "joins means or maxima of slices that are not an adaptive pool's");
  prunelab::Node op;
  AdaptivePool2d* pool = op.mutable_adaptive_pool2d();
  pool->set_function(IntAttribute(node, "max", 0) != 0 ? AdaptivePool2d::MAX : AdaptivePool2d::AVERAGE);
  pool->set_height(axis == 2 ? made : in.height);
  pool->set_width(axis == 3 ? made : in.width);
  PRUNELAB_ASSIGN_OR_RETURN(const int built, converter.Emit(node, op, {input}));
  converter.SetOutput(node, built);
  return absl::OkStatus();
}

}  // namespace

void AddReductions(ConvertTable& table) {
  table["AdaptivePool"] = ConvertAdaptivePool;
  table["ReduceMean"] = ConvertReduction<Reduction::kMean>;
  table["ReduceSum"] = ConvertReduction<Reduction::kSum>;
  table["ReduceMax"] = ConvertReduction<Reduction::kMax>;
  table["GlobalAveragePool"] = ConvertGlobalPool<Reduction::kMean>;
  table["GlobalMaxPool"] = ConvertGlobalPool<Reduction::kMax>;
}

}  // namespace prunelab
