#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/erdos_renyi.h"
#include "ml/pruning/fresh_weights.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/rigl.pb.h"

namespace prunelab {
namespace {

constexpr double kPi = 3.14159265358979323846;

// True at the k largest of values [n], ties by index.
at::Tensor LargestEntries(const at::Tensor& values, int64_t k) {
  const at::Tensor order = std::get<1>(at::sort(values, /*stable=*/true, /*dim=*/0, /*descending=*/true));
  return at::zeros_like(values, at::kBool).index_fill_(0, order.slice(0, 0, k), true);
}

class RigLPruning : public PruningStrategy {
 public:
  // `deviations`: of fresh weights, by convolution.
  RigLPruning(const Rigl& parameters, std::map<std::string, double> deviations, uint64_t seed)
      : parameters_(parameters), deviations_(std::move(deviations)), seed_(seed) {}

  Granularity granularity() const override { return ToGranularity(parameters_.granularity()); }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kMasked; }
  bool regrows() const override { return true; }
  bool needs_gradients() const override { return true; }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    if (position.step() == 0) return RandomMasks(layers);
    const double end = parameters_.last() * static_cast<double>(position.epochs * position.iterations_per_epoch);
    const double t = static_cast<double>(position.step());
    if (position.step() % parameters_.period() != 0 || t >= end) return std::nullopt;
    const double fraction = parameters_.drop_fraction() / 2 * (1 + std::cos(kPi * t / end));
    MaskUpdate update;
    for (const PrunableLayer& layer : layers) {
      if (!deviations_.count(layer.node)) continue;
      // The optimizer may have lost the weights before any ranking by other strategies would see it.
      if (!at::isfinite(layer.weight.sum()).item<bool>()) {
        return absl::DataLossError(absl::StrCat(layer.node,
                                                ": weights are infinite or not a number; the training has "
                                                "diverged (a smaller learning rate may help)"));
      }
      const at::Tensor mask = DropAndGrow(layer, fraction);
      update.masks[layer.node] = mask;
      if (parameters_.grown() != Rigl::FRESH) continue;
      RandomStream stream(seed_, absl::StrCat("rigl/grown/", layer.node), position.step());
      const at::Tensor fresh = FreshWeights(deviations_.at(layer.node), layer.weight, stream);
      update.new_weights[absl::StrCat(layer.node, ".weight")] =
          at::where(mask.ne(0) & layer.mask.eq(0), fresh, layer.weight);
    }
    update.weights = MaskUpdate::Weights::kZeroGrown;
    update.momentum = MaskUpdate::Momentum::kZeroGrown;
    return update;
  }

 private:
  bool OfFilters() const { return granularity() == Granularity::kFilter; }

  // The shape of a mask: [out, 1, 1, 1], or the weight's.
  std::vector<int64_t> MaskShape(const at::Tensor& weight) const {
    return OfFilters() ? std::vector<int64_t>{weight.size(0), 1, 1, 1} : weight.sizes().vec();
  }

  // |values| of the entries of a mask, flat: means over filters, or single ones.
  at::Tensor Magnitudes(const at::Tensor& values) const {
    return OfFilters() ? values.abs().flatten(1).mean(1) : values.reshape({-1}).abs();
  }

  at::Tensor DropAndGrow(const PrunableLayer& layer, double fraction) const {
    const std::vector<int64_t> shape = MaskShape(layer.weight);
    const at::Tensor in_force = OfFilters() ? MaskByFilter(layer) : layer.mask.expand_as(layer.weight);
    const at::Tensor mask = in_force.reshape({-1});
    const int64_t live = mask.sum().item<int64_t>();
    const int64_t dropped = static_cast<int64_t>(static_cast<double>(live) * fraction);
    // Masked entries rank below all live ones.
    const at::Tensor magnitudes = at::where(mask.gt(0), Magnitudes(layer.weight), at::full({}, -1, mask.options()));
    const at::Tensor kept = LargestEntries(magnitudes, live - dropped);
    const at::Tensor gradients = Magnitudes(layer.gradient).masked_fill(kept, -1);
    const at::Tensor grown = LargestEntries(gradients, dropped);
    return at::logical_or(kept, grown).to(layer.weight.scalar_type()).reshape(shape);
  }

  absl::StatusOr<std::optional<MaskUpdate>> RandomMasks(const std::vector<PrunableLayer>& layers) const {
    std::vector<std::vector<int64_t>> shapes;
    for (const PrunableLayer& layer : layers) {
      if (deviations_.count(layer.node)) shapes.push_back(layer.weight.sizes().vec());
    }
    std::vector<double> densities(shapes.size(), 1 - parameters_.rate());
    if (parameters_.distribution() == Rigl::ERDOS_RENYI_KERNEL) {
      densities = ErdosRenyiKernelDensities(shapes, parameters_.rate(), OfFilters());
    }
    MaskUpdate update;
    double exact = 0;  // live entries up to the layer
    int64_t rounded = 0;
    size_t index = 0;
    for (const PrunableLayer& layer : layers) {
      if (!deviations_.count(layer.node)) continue;
      const int64_t entries = OfFilters() ? layer.weight.size(0) : layer.weight.numel();
      exact += densities[index++] * static_cast<double>(entries);
      const int64_t live = std::clamp<int64_t>(std::llround(exact) - rounded, OfFilters() ? 1 : 0, entries);
      rounded += live;
      RandomStream stream(seed_, absl::StrCat("rigl/", layer.node));
      const std::vector<int64_t> order = RandomPermutation(entries, stream);
      at::Tensor mask = at::zeros({entries}, at::kDouble);
      double* values = mask.mutable_data_ptr<double>();
      for (int64_t i = 0; i < live; ++i) values[order[i]] = 1;
      update.masks[layer.node] = mask.reshape(MaskShape(layer.weight)).to(layer.weight.options().requires_grad(false));
    }
    return update;
  }

  const Rigl parameters_;
  const std::map<std::string, double> deviations_;
  const uint64_t seed_;
};

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateRigl(const Rigl& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriod("period", parameters.period()));
  if (!(parameters.drop_fraction() >= 0 && parameters.drop_fraction() <= 1)) {
    return FieldError("drop_fraction", absl::StrCat("is ", parameters.drop_fraction(), "; must be in [0, 1]"));
  }
  if (!(parameters.last() > 0 && parameters.last() <= 1)) {
    return FieldError("last", absl::StrCat("is ", parameters.last(), "; must be in (0, 1]"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::set<std::string> nodes, ChosenLayers(parameters.layers(), *setup.network));
  std::map<std::string, double> deviations;
  for (const std::string& node : nodes) deviations[node] = setup.network->InitialDeviation(setup.network->Index(node));
  return std::make_unique<RigLPruning>(parameters, std::move(deviations), setup.seed);
}
const bool registered = RegisterPruningStrategy(&CreateRigl);

}  // namespace
}  // namespace prunelab
