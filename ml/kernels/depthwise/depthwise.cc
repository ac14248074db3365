#include "ml/kernels/depthwise/depthwise.h"

#include <algorithm>
#include <vector>

#include "ml/base/check.h"
#include "ml/kernels/depthwise/rows.h"
#include "ml/kernels/instruction_set.h"
#include "ml/kernels/parallel_for.h"

namespace prunelab {
namespace {

// Without vector instructions the library's convolutions are just as good.
DepthwiseRows None() { return {}; }

// Only the chosen set's code is run, even for queries.
DepthwiseRows Rows() { return ForBestInstructionSet(&avx512::FindDepthwise, &avx2::FindDepthwise, &None)(); }

DepthwiseRows CheckedRows(const DepthwiseShape& shape) {
  PRUNELAB_CHECK(HasDepthwise(shape)) << "no kernel for a depthwise convolution of " << shape.channels << " channels";
  return Rows();
}

// The weight as [kernel height][kernel width][channels]; of the taps in reverse if `reversed`.
std::vector<float> Taps(const DepthwiseShape& shape, const float* weight, bool reversed) {
  const int64_t taps = shape.down.kernel * shape.across.kernel;
  std::vector<float> result(taps * shape.channels);
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      result[(reversed ? taps - 1 - tap : tap) * shape.channels + c] = weight[c * taps + tap];
    }
  }
  return result;
}

// Rows that one thread computes at a time: about 64 KB of `values` a row.
int64_t PieceRows(int64_t values) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(values, 1)); }

// Calls work(first, count) for pieces of `rows` rows.
template <typename Work>
void ForPieces(int64_t rows, int64_t values, const Work& work) {
  const int64_t piece = PieceRows(values);
  ParallelFor((rows + piece - 1) / piece, [&](int64_t i) { work(i * piece, std::min(piece, rows - i * piece)); });
}

void Run(const DepthwiseShape& shape, const float* x, const std::vector<float>& taps, const DepthwiseOutput& output,
         float* y) {
  const DepthwiseRows kernels = CheckedRows(shape);
  ForPieces(shape.images * shape.down.outputs, shape.across.outputs * shape.channels,
            [&](int64_t first, int64_t count) { kernels.forward(shape, x, taps.data(), output, first, count, y); });
}

bool CanRun(const DepthwiseAxis& axis) {
  return (axis.stride == 1 || axis.stride == 2) && axis.padding >= 0 && axis.padding < axis.kernel && axis.size >= 1 &&
         axis.outputs >= 1 && (axis.outputs - 1) * axis.stride - axis.padding < axis.size;
}

}  // namespace

bool HasDepthwise(const DepthwiseShape& shape) {
  const int64_t wide = shape.across.kernel;
  return Rows().forward != nullptr && shape.channels >= 8 && shape.down.kernel >= 1 && shape.down.kernel <= 7 &&
         (wide == 3 || wide == 5 || wide == 7) && CanRun(shape.down) && CanRun(shape.across);
}

void DepthwiseForward(const DepthwiseShape& shape, const float* x, const float* weight, const DepthwiseOutput& output,
                      float* y) {
  Run(shape, x, Taps(shape, weight, /*reversed=*/false), output, y);
}

void DepthwiseInputGradient(const DepthwiseShape& shape, const float* dy, const float* weight, float* dx) {
  if (shape.down.stride == 1 && shape.across.stride == 1) {
    // A convolution of dy with the taps in reverse.
    const auto reversed = [](const DepthwiseAxis& axis) {
      return DepthwiseAxis{axis.outputs, axis.size, axis.kernel, 1, axis.kernel - 1 - axis.padding};
    };
    const DepthwiseShape back{shape.images, shape.channels, reversed(shape.down), reversed(shape.across)};
    if (HasDepthwise(back)) {
      Run(back, dy, Taps(shape, weight, /*reversed=*/true), {}, dx);
      return;
    }
  }
  const DepthwiseRows kernels = CheckedRows(shape);
  const std::vector<float> taps = Taps(shape, weight, /*reversed=*/false);
  ForPieces(shape.images * shape.down.size, shape.across.size * shape.channels,
            [&](int64_t first, int64_t count) { kernels.input_gradient(shape, dy, taps.data(), first, count, dx); });
}

void DepthwiseWeightGradient(const DepthwiseShape& shape, const float* x, const float* dy, float* dweight) {
  const DepthwiseRows kernels = CheckedRows(shape);
  const int64_t rows = shape.images * shape.down.outputs, channels = shape.channels;
  const int64_t taps = shape.down.kernel * shape.across.kernel;
  const int64_t kept = (channels + 7) / 8 * 8, size = taps * kept;
  // Sixteen parts of the batch, the same for any number of threads. In float32 are the sums over 128 pixels or more.
  const int64_t parts = std::min<int64_t>(rows, 16);
  const int64_t short_sum = std::max<int64_t>(1, (127 + shape.across.outputs) / shape.across.outputs);
  std::vector<double> of_parts(parts * size);
  ParallelFor(parts, [&](int64_t part) {
    std::vector<float> sums(size);
    double* const to = of_parts.data() + part * size;
    const int64_t end = rows * (part + 1) / parts;
    for (int64_t first = rows * part / parts; first < end; first += short_sum) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      kernels.add_weight_gradient(shape, x, dy, first, std::min(short_sum, end - first), sums.data());
      for (int64_t i = 0; i < size; ++i) to[i] += static_cast<double>(sums[i]);
    }
  });
  // The sums of the channels that fill no vector are at the end of a vector of eight (rows.cc).
  const int64_t whole = channels / 8 * 8;
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t at = c < whole ? c : whole + c - (channels - 8);
    for (int64_t tap = 0; tap < taps; ++tap) {
      double sum = 0;
      for (int64_t part = 0; part < parts; ++part) sum += of_parts[part * size + tap * kept + at];
      dweight[c * taps + tap] = static_cast<float>(sum);
    }
  }
}

}  // namespace prunelab
