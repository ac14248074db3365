// Which grid represents the values of a tensor: the range that it covers, and the scale and zero point that follow from
// it.
//
//   ValueHistogram histogram;
//   for (const at::Tensor& batch : batches) histogram.AddRange(activation(batch));
//   for (const at::Tensor& batch : batches) histogram.AddCounts(activation(batch));
//   const Grid grid = GridOf(ChooseRange(histogram, {RangeMethod::kMeanSquareError}, /*bits=*/8), /*bits=*/8);
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// The numbers scale (q - zero_point), q = 0, ..., 2^bits - 1.
struct Grid {
  float scale = 1;
  int64_t zero_point = 0;
};

struct ValueRange {
  double low = 0, high = 0;
};

enum class RangeMethod {
  kMinMax,           // from the least to the largest value
  kPercentile,       // without the few values at both ends
  kMeanSquareError,  // where the mean squared distance of values and grid is least
};

// "min_max", "percentile" or "mean_square_error". Error: another name.
absl::StatusOr<RangeMethod> ParseRangeMethod(absl::string_view name);

struct RangeOptions {
  RangeMethod method = RangeMethod::kMeanSquareError;
  double percentile = 99.99;  // of kPercentile: so many percent of the values stay, in (50, 100]
};

// How often values occur, in kBins equal bins from the least to the largest. Values are counted in two passes: first
// their range, then their numbers.
struct ValueHistogram {
  static constexpr int64_t kBins = 2048;

  void AddRange(const at::Tensor& values);
  // After all calls of AddRange. Values outside the range count as its ends.
  void AddCounts(const at::Tensor& values);

  double Center(int64_t bin) const { return low + (high - low) * (bin + 0.5) / kBins; }

  double low = 0, high = 0;  // 0 is always among them
  std::array<int64_t, kBins> counts = {};
};

// The range that a grid of so many bits should cover; low <= 0 <= high.
// kPercentile: (100 - percentile) / 2 percent of the values may be below it, and as many above.
// kMeanSquareError: both ends are tried at 100 places each (from 1 to 100 percent of the histogram's), one after the
// other, until neither moves. A value counts as its bin's center.
ValueRange ChooseRange(const ValueHistogram& histogram, const RangeOptions& options, int64_t bits);

// Zero becomes a point of the grid: the zero point is the nearest place for it (Jacob et al., CVPR 2018, section 3).
// A range of nothing but zero has the scale 1.
Grid GridOf(const ValueRange& range, int64_t bits);

// By row of `weight` [rows, ...], the scale of which its numbers become whole multiples: float32 [rows], above 0.
// kMeanSquareError: the best of 81 multiples (from 20 to 100 percent) of the smallest scale that cuts nothing off;
// the other methods take that scale. A row of zeros has the scale 1.
at::Tensor WeightScales(const at::Tensor& weight, RangeMethod method, int64_t bits);

}  // namespace prunelab
