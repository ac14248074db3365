#include "ml/data/validation_split.h"

#include <ATen/ATen.h>

#include <vector>

#include "ml/base/check.h"
#include "ml/base/random.h"

namespace prunelab {

ValidationSplit SplitOffValidation(const LabelledImages& data, int64_t classes, double fraction, uint64_t seed) {
  PRUNELAB_CHECK(fraction >= 0 && fraction < 1) << "fraction " << fraction;
  const int64_t* labels = data.labels.const_data_ptr<int64_t>();
  std::vector<std::vector<int64_t>> of_class(classes);
  for (int64_t i = 0; i < data.size(); ++i) of_class[labels[i]].push_back(i);
  const at::Tensor held_out = at::zeros({data.size()}, at::kBool);
  bool* flags = held_out.mutable_data_ptr<bool>();
  for (int64_t c = 0; c < classes; ++c) {
    const int64_t n = static_cast<int64_t>(of_class[c].size());
    RandomStream stream(seed, "validation", c);
    const std::vector<int64_t> order = RandomPermutation(n, stream);
    const int64_t count = static_cast<int64_t>(static_cast<double>(n) * fraction);
    for (int64_t i = 0; i < count; ++i) flags[of_class[c][order[i]]] = true;
  }
  const auto select = [&](const at::Tensor& chosen) {
    const at::Tensor index = chosen.nonzero().flatten();
    return LabelledImages{data.images.index_select(0, index), data.labels.index_select(0, index)};
  };
  return {select(held_out.logical_not()), select(held_out)};
}

}  // namespace prunelab
