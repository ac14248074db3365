#include "ml/kernels/batch_norm/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ml/base/check.h"
#include "ml/kernels/batch_norm/rows.h"
#include "ml/kernels/instruction_set.h"
#include "ml/kernels/parallel_for.h"

namespace prunelab {
namespace {

template <typename T>
BatchNormRows<T> BestRows() {
  return ForBestInstructionSet(&avx512::Rows<T>, &avx2::Rows<T>, &generic::Rows<T>)();
}

// The number of rows in a chunk: about 100 KB of float, in whole blocks.
int64_t ChunkRows(int64_t channels) {
  const int64_t block = BatchNormBlock(channels);
  return std::max<int64_t>(1, 24576 / channels / block) * block;
}

// The layout of some of the rows.
BatchNormLayout Part(const BatchNormLayout& layout, int64_t begin, int64_t chunk) {
  BatchNormLayout part = layout;
  part.rows = std::min(chunk, layout.rows - begin);
  return part;
}

int64_t Chunks(const BatchNormLayout& layout, int64_t chunk) { return (layout.rows + chunk - 1) / chunk; }

// Calls work(begin, chunk's layout, scratch) for all chunks, on several threads.
template <typename T, typename Work>
void ForChunks(const BatchNormLayout& layout, const Work& work) {
  const int64_t chunk = ChunkRows(layout.channels);
  ParallelFor(Chunks(layout, chunk), [&](int64_t i) {
    thread_local std::vector<T> scratch;
    if (layout.position != nullptr) {
      scratch.resize(std::max<size_t>(scratch.size(), BatchNormScratch(layout.channels)));
      std::fill_n(scratch.begin(), BatchNormScratch(layout.channels) / 2, T(0));  // y's half
    }
    work(i * chunk, Part(layout, i * chunk, chunk), scratch.data());
  });
}

const double* At(const std::vector<double>& values, int64_t i) { return values.data() + i; }
template <typename T>
T* Offset(T* pointer, int64_t by) {
  return pointer == nullptr ? nullptr : pointer + by;
}

}  // namespace

template <typename T>
void BatchNormStatistics(const BatchNormLayout& layout, const T* y, double* mean, double* variance) {
  const BatchNormRows<T> kernels = BestRows<T>();
  const int64_t stored = layout.stored, chunk = ChunkRows(stored), chunks = Chunks(layout, chunk);
  std::fill_n(mean, layout.channels, 0);
  std::fill_n(variance, layout.channels, 0);
  // Sums of differences to the first row, so that no digits are lost where the mean is far from 0.
  std::vector<double> sums(2 * chunks * stored);
  ParallelFor(chunks, [&](int64_t i) {
    double* sum = sums.data() + 2 * i * stored;
    kernels.statistics(y + i * chunk * stored, std::min(chunk, layout.rows - i * chunk), stored, y, sum, sum + stored);
  });
  const auto rows = static_cast<double>(layout.rows);
  for (int64_t j = 0; j < stored; ++j) {
    double sum = 0, square = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      sum += *At(sums, 2 * i * stored + j);
      square += *At(sums, (2 * i + 1) * stored + j);
    }
    const int64_t c = layout.position == nullptr ? j : layout.position[j];
    const double shifted = sum / rows;
    mean[c] = static_cast<double>(y[j]) + shifted;
    // NaN stays NaN.
    const double value = square / rows - shifted * shifted;
    variance[c] = value < 0 ? 0 : value;
  }
}

template <typename T>
void BatchNormForward(const BatchNormLayout& layout, const T* y, const T* scale, const T* shift, const T* addend,
                      Rectifier relu, T* out) {
  const BatchNormRows<T> kernels = BestRows<T>();
  ForChunks<T>(layout, [&](int64_t begin, const BatchNormLayout& part, T* scratch) {
    const int64_t offset = begin * layout.channels;
    kernels.forward(part, y + begin * layout.stored, scale, shift, Offset(addend, offset), relu, out + offset, scratch);
  });
}

template <typename T>
void BatchNormBackward(const BatchNormLayout& layout, const T* gradient, const T* y, const T* out, const T* scale,
                       const T* shift, const T* mean, const double* inverse, Rectifier relu, T* gated, double* dgamma,
                       double* dbeta, T* dy, T* dy_stored) {
  PRUNELAB_CHECK((out == nullptr) == (gated == nullptr) && (out == nullptr || relu.on)) << "an output without a gate";
  PRUNELAB_CHECK(dy_stored == nullptr || layout.position != nullptr) << "all channels are stored";
  const BatchNormRows<T> kernels = BestRows<T>();
  const int64_t channels = layout.channels, chunk = ChunkRows(channels), chunks = Chunks(layout, chunk);
  std::vector<double> sums(2 * chunks * channels);
  ForChunks<T>(layout, [&](int64_t begin, const BatchNormLayout& part, T* scratch) {
    const int64_t offset = begin * channels;
    double* sum = sums.data() + 2 * (begin / chunk) * channels;
    kernels.backward_sums(part, gradient + offset, y + begin * layout.stored, Offset(out, offset), scale, shift, mean,
                          relu, Offset(gated, offset), sum, sum + channels, scratch);
  });
  const auto rows = static_cast<double>(layout.rows);
  std::vector<T> of_y(channels), constant(channels);
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0, product = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      sum += *At(sums, 2 * i * channels + c);
      product += *At(sums, (2 * i + 1) * channels + c);
    }
    dbeta[c] = sum;
    dgamma[c] = product * inverse[c];
    of_y[c] = static_cast<T>(-static_cast<double>(scale[c]) * inverse[c] * inverse[c] * product / rows);
    constant[c] = static_cast<T>(-static_cast<double>(scale[c]) * sum / rows);
  }
  if (dy == nullptr && dy_stored == nullptr) return;
  const T* through = gated != nullptr ? gated : gradient;
  const Rectifier gate = gated == nullptr ? relu : Rectifier(false);
  ForChunks<T>(layout, [&](int64_t begin, const BatchNormLayout& part, T* scratch) {
    const int64_t offset = begin * channels;
    kernels.backward_input(part, through + offset, y + begin * layout.stored, scale, shift, mean, of_y.data(),
                           constant.data(), gate, Offset(dy, offset), Offset(dy_stored, begin * layout.stored),
                           scratch);
  });
}

void BatchNormReference(int64_t rows, int64_t channels, const double* y, const double* gamma, const double* beta,
                        double epsilon, const double* addend, Rectifier relu, const double* gradient, double* out,
                        double* dy, double* daddend, double* dgamma, double* dbeta) {
  const auto n = static_cast<double>(rows);
  for (int64_t c = 0; c < channels; ++c) {
    double mean = 0, variance = 0;
    for (int64_t r = 0; r < rows; ++r) mean += y[r * channels + c] / n;
    for (int64_t r = 0; r < rows; ++r) variance += std::pow(y[r * channels + c] - mean, 2) / n;
    const double inverse = 1 / std::sqrt(variance + epsilon);
    dgamma[c] = dbeta[c] = 0;
    for (int64_t i = c; i < rows * channels; i += channels) {
      const double normal = (y[i] - mean) * inverse;
      const double sum = gamma[c] * normal + beta[c] + (addend != nullptr ? addend[i] : 0);
      out[i] = !relu.on ? sum : sum <= 0 ? 0 : std::min(sum, relu.ceiling);
      daddend[i] = relu.on && (sum <= 0 || sum >= relu.ceiling) ? 0 : gradient[i];
      dgamma[c] += daddend[i] * normal;
      dbeta[c] += daddend[i];
    }
    for (int64_t i = c; i < rows * channels; i += channels) {
      const double normal = (y[i] - mean) * inverse;
      dy[i] = gamma[c] * inverse * (daddend[i] - dbeta[c] / n - normal * dgamma[c] / n);
    }
  }
}

#define PRUNELAB_INSTANTIATE(T)                                                                                       \
  template void BatchNormStatistics(const BatchNormLayout&, const T*, double*, double*);                              \
  template void BatchNormForward(const BatchNormLayout&, const T*, const T*, const T*, const T*, Rectifier, T*);      \
  template void BatchNormBackward(const BatchNormLayout&, const T*, const T*, const T*, const T*, const T*, const T*, \
                                  const double*, Rectifier, T*, double*, double*, T*, T*)
PRUNELAB_INSTANTIATE(float);
PRUNELAB_INSTANTIATE(double);
#undef PRUNELAB_INSTANTIATE

}  // namespace prunelab
