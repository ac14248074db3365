// Checks of the fields that strategies' parameters share. Each gives a field error that says the value and the range.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// In [0, 1); refuses NaN.
absl::Status CheckRate(absl::string_view field, double rate);

// Steps, at least 1.
absl::Status CheckPeriod(absl::string_view field, int64_t period);

// Epochs, at least 1.
absl::Status CheckPeriodEpochs(absl::string_view field, int64_t period);

// At least 0.
absl::Status CheckEpoch(absl::string_view field, int64_t epoch);

// A count, at least `least`.
absl::Status CheckAtLeast(absl::string_view field, int64_t count, int64_t least);

// first_epoch >= 0, and last_epoch >= first_epoch or -1 (no limit).
absl::Status CheckEpochRange(int64_t first_epoch, int64_t last_epoch);

}  // namespace prunelab
