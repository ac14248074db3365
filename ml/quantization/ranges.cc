#include "ml/quantization/ranges.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ml/network/fake_quantize.h"

namespace prunelab {
namespace {

double LastPlaceOf(int64_t bits) { return static_cast<double>((int64_t{1} << bits) - 1); }

// The sum over all bins of count * (center - its value on the grid)^2.
double SquaredError(const ValueHistogram& histogram, const ValueRange& range, int64_t bits) {
  const Grid grid = GridOf(range, bits);
  const double scale = grid.scale, last = LastPlaceOf(bits);
  double sum = 0;
  for (int64_t bin = 0; bin < ValueHistogram::kBins; ++bin) {
    if (histogram.counts[bin] == 0) continue;
    const double value = histogram.Center(bin);
    const double place = std::min(std::max(std::nearbyint(value / scale) + grid.zero_point, 0.0), last);
    const double error = value - scale * (place - grid.zero_point);
    sum += static_cast<double>(histogram.counts[bin]) * error * error;
  }
  return sum;
}

ValueRange LeastSquaredError(const ValueHistogram& histogram, int64_t bits) {
  constexpr int kPlaces = 100, kMostRounds = 10;
  ValueRange best = {histogram.low, histogram.high};
  double least = SquaredError(histogram, best, bits);
  // One end after the other, until neither moves.
  for (int round = 0; round < kMostRounds; ++round) {
    bool moved = false;
    for (double ValueRange::*end : {&ValueRange::high, &ValueRange::low}) {
      const double whole = end == &ValueRange::high ? histogram.high : histogram.low;
      for (int place = kPlaces; whole != 0 && place >= 1; --place) {
        ValueRange tried = best;
        tried.*end = whole * place / kPlaces;
        const double error = SquaredError(histogram, tried, bits);
        if (error >= least) continue;
        least = error;
        best = tried;
        moved = true;
      }
    }
    if (!moved) break;
  }
  return best;
}

ValueRange WithoutEnds(const ValueHistogram& histogram, double percentile) {
  int64_t total = 0;
  for (const int64_t count : histogram.counts) total += count;
  const double spare = static_cast<double>(total) * (100 - percentile) / 200;
  const double width = (histogram.high - histogram.low) / ValueHistogram::kBins;
  ValueRange range = {histogram.low, histogram.high};
  int64_t below = 0, above = 0;
  for (int64_t bin = 0; bin < ValueHistogram::kBins; ++bin) {
    below += histogram.counts[bin];
    if (static_cast<double>(below) > spare) break;
    range.low = histogram.low + width * (bin + 1);
  }
  for (int64_t bin = ValueHistogram::kBins - 1; bin >= 0; --bin) {
    above += histogram.counts[bin];
    if (static_cast<double>(above) > spare) break;
    range.high = histogram.low + width * bin;
  }
  return {std::min(range.low, 0.0), std::max(range.high, 0.0)};
}

}  // namespace

absl::StatusOr<RangeMethod> ParseRangeMethod(absl::string_view name) {
  if (name == "min_max") return RangeMethod::kMinMax;
  if (name == "percentile") return RangeMethod::kPercentile;
  if (name == "mean_square_error") return RangeMethod::kMeanSquareError;
  return absl::InvalidArgumentError(absl::StrCat(name, ": must be min_max, percentile or mean_square_error"));
}

void ValueHistogram::AddRange(const at::Tensor& values) {
  if (values.numel() == 0) return;
  low = std::min(low, values.min().item<double>());
  high = std::max(high, values.max().item<double>());
}

void ValueHistogram::AddCounts(const at::Tensor& values) {
  const at::Tensor flat = values.detach().to(at::kDouble).contiguous().flatten();
  const double* data = flat.data_ptr<double>();
  const double per_unit = high > low ? kBins / (high - low) : 0;
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const double bin = std::floor((data[i] - low) * per_unit);
    ++counts[static_cast<int64_t>(std::min(std::max(bin, 0.0), kBins - 1.0))];
  }
}

ValueRange ChooseRange(const ValueHistogram& histogram, const RangeOptions& options, int64_t bits) {
  switch (options.method) {
    case RangeMethod::kMinMax:
      break;
    case RangeMethod::kPercentile:
      return WithoutEnds(histogram, options.percentile);
    case RangeMethod::kMeanSquareError:
      return LeastSquaredError(histogram, bits);
  }
  return {histogram.low, histogram.high};
}

Grid GridOf(const ValueRange& range, int64_t bits) {
  const double last = LastPlaceOf(bits);
  const float scale = static_cast<float>((range.high - range.low) / last);
  if (!(scale > 0)) return {};
  // In float32, as PyTorch's observers.
  const double place = std::nearbyint(static_cast<float>(-range.low) / scale);
  return {scale, static_cast<int64_t>(std::min(std::max(place, 0.0), last))};
}

at::Tensor WeightScales(const at::Tensor& weight, RangeMethod method, int64_t bits) {
  constexpr int kFirst = 20, kWhole = 100;
  const int64_t rows = weight.size(0), levels = LargestLevel(bits);
  const at::Tensor flat = weight.detach().to(at::kDouble).reshape({rows, -1});
  const at::Tensor whole =
      flat.size(1) == 0 ? at::zeros({rows}, at::kDouble) : flat.abs().amax(1).div(static_cast<double>(levels));
  at::Tensor best = whole.to(at::kFloat);
  if (method == RangeMethod::kMeanSquareError && flat.size(1) > 0) {
    at::Tensor least = at::full({rows}, INFINITY, at::kDouble);
    for (int percent = kWhole; percent >= kFirst; --percent) {
      const at::Tensor scale = (whole * percent / kWhole).to(at::kFloat);
      const at::Tensor rounded = (flat / scale.to(at::kDouble).unsqueeze(1)).round().clamp(-levels, levels) *
                                 scale.to(at::kDouble).unsqueeze(1);
      const at::Tensor error = (rounded - flat).square().sum(1);
      const at::Tensor better = error < least;  // false for a row of zeros, whose error is NaN
      least = at::where(better, error, least);
      best = at::where(better, scale, best);
    }
  }
  return at::where(best > 0, best, at::ones_like(best));
}

}  // namespace prunelab
