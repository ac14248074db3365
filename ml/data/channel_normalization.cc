#include "ml/data/channel_normalization.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

absl::StatusOr<std::vector<double>> PerChannel(const char* field, const std::vector<double>& numbers, int64_t channels,
                                               double unset, bool positive) {
  if (numbers.empty()) return std::vector<double>(channels, unset);
  if (static_cast<int64_t>(numbers.size()) != channels) {
    return FieldError(field, absl::StrCat("has ", numbers.size(), " numbers; must have ", channels,
                                          channels == 3 ? " (red, green, blue)" : ", one per channel,", " or none"));
  }
  for (const double value : numbers) {
    if (!std::isfinite(value) || (positive && !(value > 0))) {
      return FieldError(field, absl::StrCat("holds ", value, "; must be finite", positive ? " and above 0" : ""));
    }
  }
  return numbers;
}

}  // namespace

absl::StatusOr<Normalization> ChooseNormalization(const std::vector<double>& mean, const std::vector<double>& stddev,
                                                  int64_t channels, const NormalizationDefaults& defaults) {
  Normalization normalization;
  normalization.scale = defaults.scale;
  PRUNELAB_ASSIGN_OR_RETURN(normalization.mean, PerChannel("mean", mean, channels, defaults.mean, /*positive=*/false));
  PRUNELAB_ASSIGN_OR_RETURN(normalization.stddev,
                            PerChannel("stddev", stddev, channels, defaults.stddev, /*positive=*/true));
  return normalization;
}

}  // namespace prunelab
