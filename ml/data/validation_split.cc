#include "ml/data/validation_split.h"

#include <ATen/ATen.h>

#include <vector>

#include "ml/base/check.h"
#include "ml/data/shuffled_classes.h"

namespace prunelab {

ValidationSplit SplitOffValidation(const LabelledImages& data, int64_t classes, double fraction, uint64_t seed) {
  PRUNELAB_CHECK(fraction >= 0 && fraction < 1) << "fraction " << fraction;
  const at::Tensor held_out = at::zeros({data.size()}, at::kBool);
  bool* flags = held_out.mutable_data_ptr<bool>();
  for (const std::vector<int64_t>& members :
       ShuffledClasses(data.labels.const_data_ptr<int64_t>(), data.size(), classes, seed, "validation")) {
    const int64_t count = static_cast<int64_t>(static_cast<double>(members.size()) * fraction);
    for (int64_t i = 0; i < count; ++i) flags[members[i]] = true;
  }
  const auto select = [&](const at::Tensor& chosen) {
    const at::Tensor index = chosen.nonzero().flatten();
    return LabelledImages{data.images.index_select(0, index), data.labels.index_select(0, index)};
  };
  return {select(held_out.logical_not()), select(held_out)};
}

}  // namespace prunelab
