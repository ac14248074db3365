#include "ml/models/testing/torchvision_formula.h"

#include <ATen/ATen.h>

#include <cmath>

#include "absl/strings/match.h"

namespace prunelab {
namespace {

// SplitMix64 of the name's hash (FNV-1a) plus the index, the upper 53 bits: in [0, 1).
class Uniform {
 public:
  explicit Uniform(const std::string& name) {
    for (const unsigned char byte : name) hash_ = (hash_ ^ byte) * 0x100000001B3;
  }
  double operator()(uint64_t index) const {
    uint64_t x = hash_ + index * 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t hash_ = 0xCBF29CE484222325;
};

}  // namespace

at::Tensor FormulaTensor(const std::string& name, const std::vector<int64_t>& shape) {
  if (absl::EndsWith(name, ".num_batches_tracked")) return at::zeros(shape, at::kLong);
  const Uniform uniform(name);
  at::Tensor values = at::empty(shape, at::kDouble);
  double* out = values.mutable_data_ptr<double>();
  const bool scale = absl::EndsWith(name, ".running_var") || absl::EndsWith(name, ".weight");
  const double bound = values.dim() > 1 ? std::sqrt(6 / static_cast<double>(values.numel() / values.size(0))) : 0.2;
  for (int64_t i = 0; i < values.numel(); ++i) {
    out[i] = values.dim() == 1 && scale ? uniform(i) + 0.5 : (2 * uniform(i) - 1) * bound;
  }
  return values;
}

at::Tensor FormulaImages(int64_t size) {
  at::Tensor images = at::empty({2, 3, size, size}, at::kDouble);
  const Uniform uniform("images");
  double* out = images.mutable_data_ptr<double>();
  for (int64_t i = 0; i < images.numel(); ++i) out[i] = 2 * uniform(i) - 1;
  return images;
}

LogitsSummary Summarize(const at::Tensor& logits) {
  const at::Tensor values = logits.to(at::kDouble);
  const double count = static_cast<double>(values.size(0)), norm = values.norm().item<double>();
  const double one = norm / std::sqrt(count);
  LogitsSummary summary = {{values.sum().item<double>(), norm}, {one * count, norm}};
  for (const int64_t i : {0, 3, 6, 9}) {
    summary.values.push_back(values[i].item<double>());
    summary.scales.push_back(one);
  }
  return summary;
}

}  // namespace prunelab
