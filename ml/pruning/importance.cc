#include "ml/pruning/importance.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"

namespace prunelab {

bool NeedsGradient(Importance::Kind kind) {
  return kind == Importance::GRADIENT || kind == Importance::WEIGHT_TIMES_GRADIENT;
}

absl::StatusOr<at::Tensor> LayerImportance(Importance::Kind kind, Granularity granularity, const PrunableLayer& layer) {
  if (NeedsGradient(kind) && !layer.gradient.defined()) {
    return absl::FailedPreconditionError(absl::StrCat(
        layer.node, ": importance ", Importance::Kind_Name(kind),
        " needs the gradient of a step, and none has been taken yet; let the first update come after the first step"));
  }
  // Contiguous where a mean follows, so that its rounding does not depend on the memory format of the model.
  const bool filters = granularity == Granularity::kFilter;
  const auto read = [filters](const at::Tensor& tensor) { return filters ? tensor.contiguous() : tensor; };
  at::Tensor each;
  switch (kind) {
    case Importance::L1:
      each = read(layer.weight).abs();
      break;
    case Importance::L2:
      each = read(layer.weight).square();
      break;
    case Importance::GRADIENT:
      each = read(layer.gradient).abs();
      break;
    case Importance::WEIGHT_TIMES_GRADIENT:
      each = at::mul(read(layer.weight), read(layer.gradient)).abs_();
      break;
  }
  PRUNELAB_CHECK(each.defined()) << "importance " << static_cast<int>(kind);
  return filters ? each.mean({1, 2, 3}, /*keepdim=*/true) : each;
}

}  // namespace prunelab
