#include "ml/pruning/ranking.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/pruning/erdos_renyi.h"

namespace prunelab {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The paper's index of the threshold among n sorted entries. (The clamp is for a rate so close to 1 that the product
// rounds to n.)
int64_t ThresholdIndex(int64_t n, double rate) {
  return std::min(static_cast<int64_t>(static_cast<double>(n) * rate), n - 1);
}

// sorted(values)[k] as a scalar tensor, for values [n] and 0 <= k < n.
at::Tensor KthSmallest(const at::Tensor& values, int64_t k) {
  if (!values.is_cpu()) return std::get<0>(at::kthvalue(values, k + 1));
  // at::kthvalue also tracks indices; on the CPU a plain selection is faster.
  const at::Tensor scratch = values.clone(at::MemoryFormat::Contiguous);
  at::Tensor result = at::empty({}, values.options());
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "KthSmallest", [&] {
    scalar_t* data = scratch.mutable_data_ptr<scalar_t>();
    std::nth_element(data, data + k, data + scratch.numel());
    *result.mutable_data_ptr<scalar_t>() = data[k];
  });
  return result;
}

// True at the k smallest of values [n], ties by index.
at::Tensor SmallestEntries(const at::Tensor& values, int64_t k) {
  if (k <= 0) return at::zeros_like(values, at::kBool);
  if (k >= values.numel()) return at::ones_like(values, at::kBool);
  const at::Tensor threshold = KthSmallest(values, k - 1);
  const at::Tensor below = values.lt(threshold);
  const at::Tensor ties = values.eq(threshold);
  const at::Tensor missing = k - below.sum();
  return at::logical_or(below, at::logical_and(ties, ties.cumsum(0).le(missing)));
}

at::Tensor Concatenated(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> flat;
  for (const at::Tensor& tensor : tensors) flat.push_back(tensor.reshape({-1}));
  return flat.size() == 1 ? flat[0] : at::cat(flat);
}

absl::Status CheckFinite(const std::vector<RankedLayer>& layers, const at::Tensor& all) {
  if (!all.is_cpu()) return absl::OkStatus();  // looking would wait for the device: see MarkLost
  // A sum in float64 is finite when all its terms are, and those of float32 cannot make it overflow.
  if (at::isfinite(all.sum(at::kDouble)).item<bool>()) return absl::OkStatus();
  for (const RankedLayer& layer : layers) {
    const int64_t bad = layer.importance.numel() - at::isfinite(layer.importance).sum().item<int64_t>();
    if (bad == 0) continue;
    return absl::DataLossError(absl::StrCat(layer.node, ": ", bad, " of ", layer.importance.numel(),
                                            " importances are infinite or not a number, so they cannot be ranked; the "
                                            "training has diverged (a smaller learning rate may help)"));
  }
  return absl::OkStatus();
}

// On a device: masks that are not numbers where the importances are not all finite, so that the loss of what they mask
// is none either, and says so when it is looked at.
void MarkLost(const at::Tensor& all, std::map<std::string, at::Tensor>& masks) {
  if (all.is_cpu()) return;
  const at::Tensor lost = all.sum(at::kDouble) * 0;  // 0, or NaN
  for (auto& [node, mask] : masks) mask = mask + lost.to(mask.scalar_type());
}

// a / mean(a).
at::Tensor LayerMeanScores(const at::Tensor& importance) {
  const at::Tensor values = importance.to(at::kDouble);
  const at::Tensor mean = values.mean();
  return at::where(mean.gt(0), values / mean, values);
}

// The sums of the first 1, 2, ... of values [n], in float64. A GPU adds in an order of its own each time, unless it is
// asked to repeat itself.
at::Tensor SumsOfFirst(const at::Tensor& values) {
  if (values.is_cpu()) return values.cumsum(0);
  at::Context& context = at::globalContext();
  const bool before = context.deterministicAlgorithms(), warned = context.deterministicAlgorithmsWarnOnly();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  const at::Tensor sums = values.cumsum(0);
  context.setDeterministicAlgorithms(before, warned);
  return sums;
}

at::Tensor LampScores(const at::Tensor& importance) {
  const at::Tensor squares = importance.to(at::kDouble).square();
  const at::Tensor flat = squares.reshape({-1});
  const at::Tensor sorted = std::get<0>(flat.sort());
  const at::Tensor sums_from = SumsOfFirst(sorted.flip(0)).flip(0);  // of each entry and all above it
  // Equal entries share the sum that starts at the first of them.
  const at::Tensor sums = sums_from.index_select(0, at::searchsorted(sorted, flat)).reshape(squares.sizes());
  return at::where(sums.gt(0), squares / sums, squares);
}

at::Tensor Scores(Ranking::Scope scope, const at::Tensor& importance) {
  switch (scope) {
    case Ranking::GLOBAL_LAYER_MEAN:
      return LayerMeanScores(importance);
    case Ranking::GLOBAL_LAMP:
      return LampScores(importance);
    case Ranking::GLOBAL:
    case Ranking::PER_LAYER:
    case Ranking::ERDOS_RENYI_KERNEL:
    case Ranking::LAYER_RATES:
      break;
  }
  return importance;
}

// The rate of each layer, where each is ranked by itself; empty: they are ranked together.
std::vector<double> LayerRates(const Ranking& ranking, double rate, const std::vector<RankedLayer>& layers) {
  const Ranking::Scope scope = ranking.scope();
  if (scope == Ranking::PER_LAYER) return std::vector<double>(layers.size(), rate);
  if (scope == Ranking::LAYER_RATES) {
    std::map<std::string, double> by_layer;
    for (const LayerRate& each : ranking.layer_rate()) by_layer[each.layer()] = each.rate();
    std::vector<double> own;
    std::vector<int64_t> sizes;
    for (const RankedLayer& layer : layers) {
      own.push_back(by_layer[layer.node]);
      sizes.push_back(layer.importance.numel());
    }
    return ScaledRates(own, sizes, rate);
  }
  if (scope != Ranking::ERDOS_RENYI_KERNEL) return {};
  std::vector<std::vector<int64_t>> shapes;
  bool of_filters = false;
  for (const RankedLayer& layer : layers) {
    PRUNELAB_CHECK(!layer.weight_shape.empty()) << layer.node << " has no shape";
    shapes.push_back(layer.weight_shape);
    of_filters = of_filters || layer.importance.sizes() != at::IntArrayRef(layer.weight_shape);
  }
  std::vector<double> rates;
  for (const double density : ErdosRenyiKernelDensities(shapes, rate, of_filters)) {
    rates.push_back(std::max(0.0, 1 - density));
  }
  return rates;
}

// How many of n entries a rate masks by the paper's rule.
int64_t CountMasked(int64_t n, double rate) { return rate == 0 ? 0 : ThresholdIndex(n, rate) + 1; }

// What the limits leave of a layer.
struct LimitedLayer {
  at::Tensor scores;  // [n], infinite where a limit protects the entry
  int64_t available = 0;
};

LimitedLayer Limit(const Ranking& ranking, const at::Tensor& scores) {
  const int64_t filters = scores.size(0);
  const at::Tensor rows = scores.reshape({filters, -1});
  const int64_t protected_filters = std::min(ranking.min_live_filters(), filters);
  at::Tensor open = rows;
  if (protected_filters > 0) {
    // Going through the entries in order, a filter dies at the last of its largest entries; filters in order of that
    // entry. The last `protected_filters` to die must not: each keeps that entry.
    const at::Tensor largest = rows.amax(1);
    const at::Tensor survives = at::logical_not(SmallestEntries(largest, filters - protected_filters));
    const at::Tensor ties = rows.eq(largest.unsqueeze(1));
    const at::Tensor last = at::logical_and(ties, ties.cumsum(1).eq(ties.sum(1, /*keepdim=*/true)));
    open = rows.masked_fill(at::logical_and(last, survives.unsqueeze(1)), kInfinity);
  }
  LimitedLayer limited;
  const int64_t by_rate = static_cast<int64_t>(static_cast<double>(scores.numel()) * ranking.max_rate());
  limited.available = std::min(by_rate, scores.numel() - protected_filters);
  const at::Tensor flat = open.reshape({-1});
  limited.scores = flat.masked_fill(at::logical_not(SmallestEntries(flat, limited.available)), kInfinity);
  return limited;
}

// True where entries are off, one [n] a layer.
std::vector<at::Tensor> LimitedOff(const Ranking& ranking, double rate, const std::vector<double>& layer_rates,
                                   const std::vector<at::Tensor>& scores) {
  std::vector<LimitedLayer> layers;
  std::vector<at::Tensor> off;
  for (const at::Tensor& layer : scores) layers.push_back(Limit(ranking, layer));
  if (!layer_rates.empty()) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const int64_t asked = CountMasked(layers[i].scores.numel(), layer_rates[i]);
      off.push_back(SmallestEntries(layers[i].scores, std::min(asked, layers[i].available)));
    }
    return off;
  }
  std::vector<at::Tensor> flat;
  std::vector<int64_t> sizes;
  int64_t available = 0;
  for (const LimitedLayer& layer : layers) {
    flat.push_back(layer.scores);
    sizes.push_back(layer.scores.numel());
    available += layer.available;
  }
  const at::Tensor all = Concatenated(flat);
  const int64_t asked = ThresholdIndex(all.numel(), rate) + 1;
  return SmallestEntries(all, std::min(asked, available)).split_with_sizes(sizes);
}

}  // namespace

absl::Status ValidateRanking(const Ranking& ranking) {
  if (ranking.min_live_filters() < 0) {
    return FieldError("min_live_filters", absl::StrCat("is ", ranking.min_live_filters(), "; must be 0 or more"));
  }
  if (!(ranking.max_rate() >= 0 && ranking.max_rate() <= 1)) {
    return FieldError("max_rate", absl::StrCat("is ", ranking.max_rate(), "; must be in [0, 1]"));
  }
  const bool own = ranking.scope() == Ranking::LAYER_RATES;
  if (own && ranking.layer_rate().empty()) {
    return FieldError("layer_rate", "is not set, and scope is LAYER_RATES; //tools:sensitivity finds rates");
  }
  std::set<std::string> named;
  bool any = false;
  for (int i = 0; i < ranking.layer_rate_size(); ++i) {
    const LayerRate& each = ranking.layer_rate(i);
    const std::string field = absl::StrCat("layer_rate[", i, "]");
    if (!own) {
      return FieldError(field, absl::StrCat("is set, and scope is ", Ranking::Scope_Name(ranking.scope()),
                                            ", which does not read it; must be LAYER_RATES"));
    }
    if (!(each.rate() >= 0 && each.rate() < 1)) {
      return FieldError(field + ".rate", absl::StrCat("is ", each.rate(), "; must be in [0, 1)"));
    }
    if (!named.insert(each.layer()).second) {
      return FieldError(field + ".layer", absl::StrCat("is \"", each.layer(), "\", which has a rate already"));
    }
    any = any || each.rate() > 0;
  }
  if (own && !any) return FieldError("layer_rate", "has rates of 0 alone, and then nothing is masked");
  return absl::OkStatus();
}

std::vector<double> ScaledRates(const std::vector<double>& own, const std::vector<int64_t>& sizes, double rate) {
  constexpr double kMost = 0.95;
  double entries = 0;
  for (const int64_t size : sizes) entries += static_cast<double>(size);
  const auto at = [&](double factor) {
    std::vector<double> rates;
    for (const double each : own) rates.push_back(std::min(factor * each, std::max(each, kMost)));
    return rates;
  };
  const auto masked = [&](double factor) {
    double sum = 0;
    const std::vector<double> rates = at(factor);
    for (size_t i = 0; i < rates.size(); ++i) sum += rates[i] * static_cast<double>(sizes[i]);
    return sum;
  };
  // As they are, where that is what is asked for to the six digits that a person writes down.
  if (std::abs(masked(1) - rate * entries) <= 1e-6 * entries) return own;
  double low = 0, high = 1;
  while (masked(high) < rate * entries && high < 1e9) high *= 2;
  for (int step = 0; step < 200; ++step) {
    const double middle = (low + high) / 2;
    (masked(middle) < rate * entries ? low : high) = middle;
  }
  return at(high);
}

absl::StatusOr<std::map<std::string, at::Tensor>> RankMasks(const Ranking& ranking, double rate,
                                                            const std::vector<RankedLayer>& layers) {
  PRUNELAB_CHECK(rate >= 0 && rate < 1) << "rate " << rate;
  PRUNELAB_CHECK(ValidateRanking(ranking).ok()) << ValidateRanking(ranking);
  std::map<std::string, at::Tensor> masks;
  if (layers.empty()) return masks;
  std::vector<at::Tensor> scores;
  for (const RankedLayer& layer : layers) scores.push_back(layer.importance);
  at::Tensor all = Concatenated(scores);
  const at::Tensor importances = all;
  const absl::Status finite = CheckFinite(layers, all);
  if (!finite.ok()) return finite;
  if (rate == 0) {
    for (const RankedLayer& layer : layers) masks[layer.node] = at::ones_like(layer.importance);
    MarkLost(importances, masks);
    return masks;
  }
  const bool scaled = ranking.scope() == Ranking::GLOBAL_LAYER_MEAN || ranking.scope() == Ranking::GLOBAL_LAMP;
  if (scaled) {
    for (at::Tensor& layer : scores) layer = Scores(ranking.scope(), layer);
  }

  const std::vector<double> layer_rates = LayerRates(ranking, rate, layers);
  if (ranking.min_live_filters() > 0 || ranking.max_rate() < 1) {
    const std::vector<at::Tensor> off = LimitedOff(ranking, rate, layer_rates, scores);
    for (size_t i = 0; i < layers.size(); ++i) {
      const at::Tensor& importance = layers[i].importance;
      masks[layers[i].node] = at::logical_not(off[i]).reshape(importance.sizes()).to(importance.scalar_type());
    }
    MarkLost(importances, masks);
    return masks;
  }

  at::Tensor threshold;
  if (layer_rates.empty()) {
    if (scaled) all = Concatenated(scores);
    threshold = KthSmallest(all, ThresholdIndex(all.numel(), rate));
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!layer_rates.empty() && layer_rates[i] == 0) {
      masks[layers[i].node] = at::ones_like(layers[i].importance);
      continue;
    }
    if (!layer_rates.empty()) {
      const at::Tensor flat = scores[i].reshape({-1});
      threshold = KthSmallest(flat, ThresholdIndex(flat.numel(), layer_rates[i]));
    }
    masks[layers[i].node] = scores[i].gt(threshold).to(layers[i].importance.scalar_type());
  }
  MarkLost(importances, masks);
  return masks;
}

Granularity ToGranularity(MaskUnit::Kind unit) {
  return unit == MaskUnit::FILTER ? Granularity::kFilter : Granularity::kWeight;
}

GradientPolicy ToGradientPolicy(MaskGradient::Policy policy) {
  return policy == MaskGradient::MASKED ? GradientPolicy::kMasked : GradientPolicy::kStraightThrough;
}

}  // namespace prunelab
