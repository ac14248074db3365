#include "ml/kernels/conv3x3/conv3x3.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "ml/base/check.h"
#include "ml/kernels/conv3x3/rows.h"
#include "ml/kernels/instruction_set.h"
#include "ml/kernels/parallel_for.h"

namespace prunelab {
namespace {

// Without vector instructions the library's convolutions are just as good.
Conv3x3Rows None() { return {}; }

// Only the chosen set's code is run, even for queries.
Conv3x3Rows Rows() { return ForBestInstructionSet(&avx512::FindConv3x3, &avx2::FindConv3x3, &None)(); }

// Memory aligned to cache lines, so that a vector lies in one. It grows and never shrinks; new memory is zero.
class Lines {
 public:
  float* Get(int64_t size) {
    if (size > size_) {
      const size_t bytes = (static_cast<size_t>(size) * sizeof(float) + 63) / 64 * 64;
      memory_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      PRUNELAB_CHECK(memory_ != nullptr) << "no memory";
      std::fill_n(memory_.get(), bytes / sizeof(float), 0.0f);
      size_ = size;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::unique_ptr<float, Free> memory_;
  int64_t size_ = 0;
};

// What a thread needs besides the operands. The zeros are never written.
struct Workspace {
  Lines transformed, scratch, zeros;
};
Workspace& ThreadsWorkspace() {
  thread_local Workspace workspace;
  return workspace;
}

// Rows of tiles that are handled at a time.
int64_t BlockRows(const Conv3x3Shape& shape) { return kConv3x3Tiles / shape.tile_columns(); }

Conv3x3Rows CheckedRows() {
  const Conv3x3Rows kernels = Rows();
  PRUNELAB_CHECK(kernels.convolve != nullptr) << "no kernel for this processor";
  return kernels;
}

// `transformed`: the weights', by one of the two transforms.
void Run(const Conv3x3Rows& kernels, const Conv3x3Shape& shape, const Conv3x3Input& x, const float* transformed,
         const float* addend, float* y) {
  const int64_t rows = shape.images * shape.tile_rows(), block = BlockRows(shape);
  ParallelFor((rows + block - 1) / block, [&](int64_t i) {
    Workspace& own = ThreadsWorkspace();
    const int64_t count = std::min(block, rows - i * block);
    const int64_t offset = shape.PixelsBefore(i * block) * shape.out;
    kernels.convolve(shape, x, own.zeros.Get(shape.width * shape.in), transformed, i * block, count,
                     addend != nullptr ? addend + offset : nullptr, y + offset,
                     own.scratch.Get(kernels.scratch_size(shape)));
  });
}

}  // namespace

bool HasConv3x3(int64_t in, int64_t out, int64_t height, int64_t width) {
  return Rows().convolve != nullptr && in % 8 == 0 && out % 8 == 0 && in * out <= kMaxConv3x3Weights && height >= 2 &&
         width >= 2 && width <= 2 * kConv3x3Tiles;
}

bool HasConv3x3WeightGradient(int64_t in, int64_t out, int64_t height, int64_t width) {
  return HasConv3x3(in, out, height, width) && in * out <= kMaxConv3x3WeightGradients;
}

void Conv3x3(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const Conv3x3Input& x,
             const float* weight, float* y) {
  const Conv3x3Rows kernels = CheckedRows();
  const Conv3x3Shape shape{images, height, width, in, out};
  float* const transformed = ThreadsWorkspace().transformed.Get(16 * in * out);
  kernels.transform_weight(shape, weight, transformed);
  Run(kernels, shape, x, transformed, nullptr, y);
}

int64_t Conv3x3TransformedSize(int64_t in, int64_t out) { return 16 * in * out; }

void TransformConv3x3Weight(int64_t in, int64_t out, const float* weight, float* transformed) {
  // The same for images of any size.
  CheckedRows().transform_weight({1, 2, 2, in, out}, weight, transformed);
}

void Conv3x3Fused(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const float* x,
                  const float* weight, const Conv3x3Output& output, float* result) {
  float* const transformed = ThreadsWorkspace().transformed.Get(Conv3x3TransformedSize(in, out));
  TransformConv3x3Weight(in, out, weight, transformed);
  Conv3x3FusedTransformed(images, height, width, in, out, x, transformed, output, result);
}

void Conv3x3FusedTransformed(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const float* x,
                             const float* transformed, const Conv3x3Output& output, float* result) {
  const Conv3x3Rows kernels = CheckedRows();
  const Conv3x3Shape shape{images, height, width, in, out};
  PRUNELAB_CHECK(output.channels % 8 == 0 && output.shift != nullptr) << output.channels << " channels";
  PRUNELAB_CHECK(output.position != nullptr ? output.channels >= out : output.channels == out)
      << out << " channels into " << output.channels;
  const int64_t rows = images * shape.tile_rows(), block = BlockRows(shape);
  // If the result is already in place, the convolution's output has its own memory.
  const bool apart = output.position != nullptr || output.addend == result;
  ParallelFor((rows + block - 1) / block, [&](int64_t i) {
    thread_local Lines outputs;
    Workspace& own = ThreadsWorkspace();
    const int64_t first = i * block, count = std::min(block, rows - first);
    float* const out_rows = result + shape.PixelsBefore(first) * output.channels;
    float* const y = apart ? outputs.Get(4 * kConv3x3Tiles * out + kConv3x3Overread) : out_rows;
    kernels.convolve(shape, {x}, own.zeros.Get(shape.width * in), transformed, first, count, nullptr, y,
                     own.scratch.Get(kernels.scratch_size(shape)));
    kernels.finish(shape, output, first, count, y, out_rows);
  });
}

void Conv3x3InputGradient(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const float* dy,
                          const float* weight, const float* addend, float* dx) {
  // A convolution of dy with the taps in reverse order and the channels' roles exchanged.
  const Conv3x3Rows kernels = CheckedRows();
  float* const transformed = ThreadsWorkspace().transformed.Get(16 * in * out);
  kernels.transform_weight_for_input({images, height, width, in, out}, weight, transformed);
  Run(kernels, {images, height, width, out, in}, {dy}, transformed, addend, dx);
}

void Conv3x3WeightGradient(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out,
                           const Conv3x3Input& x, const float* dy, float* dweight) {
  const Conv3x3Rows kernels = CheckedRows();
  const Conv3x3Shape shape{images, height, width, in, out};
  const int64_t rows = images * shape.tile_rows(), block = BlockRows(shape), blocks = (rows + block - 1) / block;
  // Groups of blocks, the same for any number of threads.
  const int64_t groups = std::min<int64_t>(blocks, 16), size = 9 * in * out;
  std::vector<float> of_groups(groups * size);
  ParallelFor(groups, [&](int64_t group) {
    thread_local Lines sums;
    Workspace& own = ThreadsWorkspace();
    float* const gradient = sums.Get(16 * in * out);
    std::fill_n(gradient, 16 * in * out, 0.0f);
    for (int64_t i = blocks * group / groups; i < blocks * (group + 1) / groups; ++i) {
      kernels.add_weight_gradient(shape, x, own.zeros.Get(shape.width * in), dy, i * block,
                                  std::min(block, rows - i * block), gradient,
                                  own.scratch.Get(kernels.scratch_size(shape)));
    }
    kernels.weight_from_transformed(shape, gradient, of_groups.data() + group * size);
  });
  // [9][in][out] to [out][9][in].
  ParallelFor(9, [&](int64_t tap) {
    std::vector<double> sums(out);
    for (int64_t i = tap * in; i < (tap + 1) * in; ++i) {
      std::fill(sums.begin(), sums.end(), 0);
      for (int64_t group = 0; group < groups; ++group) {
        const float* part = of_groups.data() + group * size + i * out;
        for (int64_t o = 0; o < out; ++o) sums[o] += static_cast<double>(part[o]);
      }
      for (int64_t o = 0; o < out; ++o) dweight[o * 9 * in + i] = static_cast<float>(sums[o]);
    }
  });
}

void Conv3x3Reference(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const float* x,
                      const float* weight, float* y) {
  const auto at = [&](int64_t n, int64_t row, int64_t column, int64_t i) {
    const bool inside = row >= 0 && row < height && column >= 0 && column < width;
    return inside ? x[((n * height + row) * width + column) * in + i] : 0.0f;
  };
  for (int64_t n = 0; n < images; ++n) {
    for (int64_t row = 0; row < height; ++row) {
      for (int64_t column = 0; column < width; ++column) {
        for (int64_t o = 0; o < out; ++o) {
          double sum = 0;
          for (int64_t tap = 0; tap < 9; ++tap) {
            for (int64_t i = 0; i < in; ++i) {
              sum += static_cast<double>(weight[(o * 9 + tap) * in + i]) *
                     at(n, row + tap / 3 - 1, column + tap % 3 - 1, i);
            }
          }
          y[((n * height + row) * width + column) * out + o] = static_cast<float>(sum);
        }
      }
    }
  }
}

}  // namespace prunelab
