#include <ATen/ATen.h>

#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/live_filters.h"
#include "ml/regularizers/orthogonality.pb.h"

namespace prunelab {
namespace {

at::Tensor Term(const Orthogonality& parameters, const RegularizedLayer& layer) {
  const at::Tensor rows = FilterRows(AppliedWeight(layer));
  const at::Tensor unmasked = UnmaskedFilters(layer);
  const at::Tensor ones = unmasked.defined() ? unmasked.to(rows.scalar_type())
                                             : at::ones({rows.size(0)}, rows.options().requires_grad(false));
  const at::Tensor n = ones.sum();
  const double d = static_cast<double>(rows.size(1));
  const at::Tensor of_filters = (rows.mm(rows.t()) - ones.diag()).square().sum();
  const at::Tensor of_inputs = of_filters + (d - n);
  const bool mean = parameters.scale() == Orthogonality::MEAN;
  const at::Tensor filters_term = mean ? of_filters / n.square().clamp_min(1) : of_filters;
  const at::Tensor inputs_term = mean ? of_inputs / (d * d) : of_inputs;
  switch (parameters.gram()) {
    case Orthogonality::FILTERS:
      return filters_term;
    case Orthogonality::INPUTS:
      return inputs_term;
    case Orthogonality::BOTH:
      break;
  }
  return filters_term + inputs_term;
}
const bool registered = RegisterLayerPenalty(&Term);

}  // namespace
}  // namespace prunelab
