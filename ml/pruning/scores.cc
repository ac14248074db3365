#include "ml/pruning/scores.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"

namespace prunelab {
namespace {

// 1 - mean |cosine| to the other rows of weight [out, ...], in its dtype, as [out, 1, 1, 1].
at::Tensor DirectionScores(const at::Tensor& weight) {
  const at::Tensor rows = weight.flatten(1).to(at::kDouble);
  const int64_t filters = rows.size(0);
  const at::Tensor norms = rows.norm(2, /*dim=*/1, /*keepdim=*/true);
  const at::Tensor unit = at::where(norms.gt(0), rows / norms, at::zeros({}, rows.options()));
  const at::Tensor cosines = at::mm(unit, unit.t()).abs();
  const at::Tensor others = (cosines.sum(1) - cosines.diagonal()) / std::max<int64_t>(filters - 1, 1);
  const at::Tensor scores = (1 - others).clamp_min(0) * norms.flatten().gt(0);
  return scores.to(weight.scalar_type()).view({-1, 1, 1, 1});
}

}  // namespace

Scores ImportanceScores(Importance::Kind kind) {
  switch (kind) {
    case Importance::L1:
      return {[](const at::Tensor& weight, const at::Tensor&) { return weight.abs(); }};
    case Importance::L2:
      return {[](const at::Tensor& weight, const at::Tensor&) { return weight.square(); }};
    case Importance::GRADIENT:
      return {[](const at::Tensor&, const at::Tensor& gradient) { return gradient.abs(); }, true};
    case Importance::WEIGHT_TIMES_GRADIENT:
      return {[](const at::Tensor& weight, const at::Tensor& gradient) { return at::mul(weight, gradient).abs_(); },
              true};
    case Importance::BATCH_NORM_SCALE: {
      Scores scores;
      scores.of_filters = scores.of_batch_norm = true;
      return scores;
    }
    case Importance::DIRECTION: {
      Scores scores;
      scores.of = [](const at::Tensor& weight, const at::Tensor&) { return DirectionScores(weight); };
      scores.of_filters = true;
      return scores;
    }
  }
  PRUNELAB_CHECK(false) << "importance " << static_cast<int>(kind);
  return {};
}

absl::StatusOr<at::Tensor> LayerScores(const Scores& scores, Granularity granularity, const PrunableLayer& layer) {
  if (scores.needs_gradients && !layer.gradient.defined()) {
    return absl::FailedPreconditionError(
        absl::StrCat(layer.node,
                     ": its scores need the gradient of a step, and none has been taken yet; let the first update come "
                     "after the first step"));
  }
  // Contiguous where a mean follows, so that its rounding does not depend on the memory format of the model.
  const bool filters = granularity == Granularity::kFilter;
  const auto read = [filters](const at::Tensor& tensor) { return filters ? tensor.contiguous() : tensor; };
  const at::Tensor each = scores.of(read(layer.weight), scores.needs_gradients ? read(layer.gradient) : at::Tensor());
  if (!each.defined()) return absl::UnimplementedError(absl::StrCat(layer.node, ": the strategy gives it no scores"));
  const bool by_weight = each.sizes() == layer.weight.sizes();
  const bool by_filter = each.sizes() == at::IntArrayRef({layer.weight.size(0), 1, 1, 1});
  PRUNELAB_CHECK(by_weight || (filters && by_filter))
      << layer.node << ": scores of the shape " << each.sizes() << " for weights of " << layer.weight.sizes();
  return filters && !by_filter ? each.mean({1, 2, 3}, /*keepdim=*/true) : each;
}

}  // namespace prunelab
