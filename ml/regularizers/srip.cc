#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"
#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/live_filters.h"
#include "ml/regularizers/srip.pb.h"

namespace prunelab {
namespace {

// x / |x|; zeros stay zeros.
at::Tensor Normalized(const at::Tensor& x) {
  return x / at::linalg_vector_norm(x).clamp_min(1e-12);  // as torch.nn.functional.normalize
}

// Adds a layer's term.
class SripTerm {
 public:
  // `starts`: node -> start vector, float64.
  SripTerm(const Srip& parameters, std::map<std::string, at::Tensor> starts)
      : repository_(parameters.variant() == Srip::REPOSITORY),
        squared_(repository_ || parameters.squared()),
        iterations_(parameters.iterations()),
        starts_(std::move(starts)) {}

  void operator()(const RegularizedLayer& layer, PenaltySum& sum) const {
    const at::Tensor& start = starts_.at(layer.node);
    const at::Tensor sigma = repository_ ? OfDenseInputs(layer, start) : OfFilters(layer, start);
    sum.Add(squared_ ? sigma.square() : sigma);
  }

 private:
  at::Tensor Sigma(at::Tensor x, const std::function<at::Tensor(const at::Tensor&)>& product) const {
    x = Normalized(x);
    for (int64_t i = 0; i < iterations_; ++i) x = Normalized(product(x));
    return at::linalg_vector_norm(product(x));
  }

  // Of W W^T - I over the filters that are on: rows of the others are zeros, and so stays x there.
  at::Tensor OfFilters(const RegularizedLayer& layer, const at::Tensor& start) const {
    const at::Tensor rows = FilterRows(AppliedWeight(layer)), columns = rows.t();
    const at::Tensor unmasked = UnmaskedFilters(layer);
    at::Tensor x = Start(layer.node, start, rows);
    if (unmasked.defined()) x = x * unmasked;
    return Sigma(x, [&](const at::Tensor& x) { return rows.mv(columns.mv(x)) - x; });
  }

  // Of W^T W - I. The start vector's order is that of the weights in a row, whatever the memory format.
  at::Tensor OfDenseInputs(const RegularizedLayer& layer, const at::Tensor& start) const {
    const at::Tensor rows = layer.weight.flatten(1), columns = rows.t();
    return Sigma(Start(layer.node, start, rows), [&](const at::Tensor& x) { return columns.mv(rows.mv(x)) - x; });
  }

  // As `rows` in type and place. A device gets it once: each copy would wait for the host.
  at::Tensor Start(const std::string& node, const at::Tensor& start, const at::Tensor& rows) const {
    if (rows.is_cpu()) return start.to(rows.scalar_type());
    at::Tensor& copy = on_device_[node];
    if (!copy.defined() || copy.device() != rows.device() || copy.scalar_type() != rows.scalar_type()) {
      copy = start.to(rows.device(), rows.scalar_type());
    }
    return copy;
  }

  bool repository_, squared_;
  int64_t iterations_;
  std::map<std::string, at::Tensor> starts_;
  mutable std::map<std::string, at::Tensor> on_device_;  // starts_ that a device was given
};

at::Tensor StartVector(int64_t seed, const std::string& node, int64_t size) {
  RandomStream stream(static_cast<uint64_t>(seed), absl::StrCat("srip/", node));
  at::Tensor start = at::empty({size}, at::kDouble);
  double* entry = start.mutable_data_ptr<double>();
  for (int64_t i = 0; i < size; ++i) entry[i] = stream.Normal();
  return start;
}

absl::StatusOr<std::unique_ptr<Regularizer>> CreateSrip(const Srip& parameters, const NetworkInfo& network) {
  if (!(parameters.iterations() >= 1 && parameters.iterations() <= 1000)) {
    return FieldError("iterations", absl::StrCat("is ", parameters.iterations(), "; must be from 1 to 1000"));
  }
  std::map<std::string, at::Tensor> starts;
  if (parameters.variant() == Srip::REPOSITORY) {
    if (parameters.iterations() != 1) {
      return FieldError("iterations", absl::StrCat("is ", parameters.iterations(),
                                                   "; the repository's code takes one: leave it out, or use PAPER"));
    }
    if (parameters.has_layers()) {
      return FieldError("layers", "is set; the repository's code takes all layers: leave it out, or use PAPER");
    }
    for (const ParameterSpec& parameter : network.parameters()) {
      if (parameter.is_buffer || parameter.shape.size() < 2) continue;
      int64_t size = 1;
      for (size_t i = 1; i < parameter.shape.size(); ++i) size *= parameter.shape[i];
      starts[parameter.node] = StartVector(parameters.seed(), parameter.node, size);
    }
  } else {
    PRUNELAB_ASSIGN_OR_RETURN(const std::set<std::string> convs, PenalizedConvs(parameters, network));
    for (const ConvInfo& conv : network.convs()) {
      if (convs.count(conv.node)) starts[conv.node] = StartVector(parameters.seed(), conv.node, conv.filters);
    }
  }
  std::set<std::string> nodes;
  for (const auto& [node, start] : starts) nodes.insert(node);
  return MakeLayerPenalty(std::move(nodes), SripTerm(parameters, std::move(starts)));
}
const bool registered = RegisterRegularizer(&CreateSrip);

}  // namespace
}  // namespace prunelab
