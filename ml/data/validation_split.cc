#include "ml/data/validation_split.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/data/shuffled_classes.h"

namespace prunelab {
namespace {

// How many images of each class.
absl::StatusOr<std::vector<int64_t>> ValidationCounts(const LabelledImages& data, int64_t classes, double fraction) {
  PRUNELAB_CHECK(fraction >= 0 && fraction < 1) << "fraction " << fraction;
  std::vector<int64_t> counts(classes, 0);
  if (fraction == 0) return counts;
  const at::Tensor sizes = at::bincount(data.labels, {}, classes);
  for (int64_t label = 0; label < classes; ++label) {
    const int64_t size = sizes.const_data_ptr<int64_t>()[label];
    if (size == 0) continue;
    counts[label] = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(size) * fraction));
    if (counts[label] < size) continue;
    return FieldError("validation_fraction",
                      absl::StrCat("is ", fraction, ", which sets ", counts[label], " of class ", label, "'s ", size,
                                   size == 1 ? " training image" : " training images",
                                   " aside and leaves none to train on; leave it out, or have more images of that "
                                   "class"));
  }
  return counts;
}

}  // namespace

absl::StatusOr<ValidationSplit> SplitOffValidation(const LabelledImages& data, int64_t classes, double fraction,
                                                   uint64_t seed) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> counts, ValidationCounts(data, classes, fraction));
  const at::Tensor held_out = at::zeros({data.size()}, at::kBool);
  bool* flags = held_out.mutable_data_ptr<bool>();
  const std::vector<std::vector<int64_t>> members =
      ShuffledClasses(data.labels.const_data_ptr<int64_t>(), data.size(), classes, seed, "validation");
  for (int64_t label = 0; label < classes; ++label) {
    for (int64_t i = 0; i < counts[label]; ++i) flags[members[label][i]] = true;
  }
  const auto select = [&](const at::Tensor& chosen) { return SelectImages(data, chosen.nonzero().flatten()); };
  return ValidationSplit{select(held_out.logical_not()), select(held_out)};
}

absl::StatusOr<int64_t> CountValidation(const LabelledImages& data, int64_t classes, double fraction) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> counts, ValidationCounts(data, classes, fraction));
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

}  // namespace prunelab
