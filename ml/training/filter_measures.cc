#include "ml/training/filter_measures.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace prunelab {
namespace {

at::Tensor WeightOf(const Model& model, const std::string& conv) {
  return model.Get(absl::StrCat(conv, ".weight")).detach();
}

// Bool [out]: filters that are on.
at::Tensor IsOn(const std::map<std::string, at::Tensor>& masks, const std::string& conv, const at::Tensor& like) {
  const auto mask = masks.find(conv);
  if (mask == masks.end()) return at::ones({like.size(0)}, like.options().dtype(at::kBool));
  return mask->second.flatten(1).ne(0).any(1);
}

// The angle of each row of `a` to that of `b`, in degrees; NaN where one of them is zero.
at::Tensor Degrees(const at::Tensor& a, const at::Tensor& b) {
  // By the lengths of sum and difference of the unit vectors, which is exact for small angles, too.
  const at::Tensor u = a / a.norm(2, /*dim=*/1, /*keepdim=*/true), v = b / b.norm(2, /*dim=*/1, /*keepdim=*/true);
  return at::atan2((u - v).norm(2, /*dim=*/1), (u + v).norm(2, /*dim=*/1)) * (2 * 180 / M_PI);
}

}  // namespace

FilterMeasures::FilterMeasures(const Model& model) {
  StartEpoch(model);
  for (const auto& [conv, weight] : start_) {
    changed_[conv] = at::zeros({weight.size(0)}, weight.options().dtype(at::kLong));
  }
}

void FilterMeasures::StartEpoch(const Model& model) {
  for (const ConvInfo& conv : model.info().convs()) start_[conv.node] = WeightOf(model, conv.node).clone();
}

void FilterMeasures::CountChanges(const std::map<std::string, at::Tensor>& before,
                                  const std::map<std::string, at::Tensor>& after, int64_t step) {
  for (auto& [conv, changed] : changed_) {
    const at::Tensor differs = IsOn(before, conv, changed) != IsOn(after, conv, changed);
    changed = at::where(differs, at::full({}, step, changed.options()), changed);
  }
}

void FilterMeasures::EndEpoch(const Model& model, int64_t steps, Measures& measures) {
  std::vector<at::Tensor> norms, on, degrees, ages;
  for (const auto& [conv, start] : start_) {
    const at::Tensor weight = WeightOf(model, conv).flatten(1).to(at::kDouble);
    norms.push_back(weight.norm(2, /*dim=*/1));
    on.push_back(IsOn(model.masks(), conv, start));
    degrees.push_back(Degrees(weight, start.flatten(1).to(at::kDouble)));
    ages.push_back((steps - changed_.at(conv)).to(at::kDouble));
  }
  // Means over the filters of all layers.
  const at::Tensor norm = at::cat(norms).cpu(), live = at::cat(on).cpu(), turned = at::cat(degrees).cpu();
  const at::Tensor known = live & turned.isfinite();
  const auto mean = [](const at::Tensor& values) { return values.mean().item<double>(); };
  if (live.any().item<bool>()) measures.set_live_filter_norm(mean(norm.index({live})));
  if (!live.all().item<bool>()) measures.set_dead_filter_norm(mean(norm.index({live.logical_not()})));
  if (known.any().item<bool>()) measures.set_turned_degrees(mean(turned.index({known})));
  if (!model.masks().empty()) measures.set_mask_age(mean(at::cat(ages).cpu()));
  StartEpoch(model);
}

void FilterMeasures::Set(std::map<std::string, at::Tensor> start, std::map<std::string, at::Tensor> changed) {
  start_ = std::move(start);
  changed_ = std::move(changed);
}

}  // namespace prunelab
