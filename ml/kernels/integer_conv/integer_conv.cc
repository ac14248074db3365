#include "ml/kernels/integer_conv/integer_conv.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "ml/base/check.h"
#include "ml/kernels/instruction_set.h"
#include "ml/kernels/integer_conv/rows.h"
#include "ml/kernels/parallel_for.h"

namespace prunelab {
namespace {

// Only the chosen set's code is run, even for queries.
IntegerConvRows Rows() {
  return ForBestInstructionSet(HasVnni() ? &avx512_vnni::FindIntegerConv : &avx512::FindIntegerConv,
                               &avx2::FindIntegerConv, &generic::FindIntegerConv)();
}

int64_t RoundedUp(int64_t number, int64_t multiple) { return (number + multiple - 1) / multiple * multiple; }

// What is read of an image, with the padding around it, as numbers of the inner loops.
template <typename Number>
void Pad(const IntegerConvWeights& weights, IntegerConvPlan::Size size, int64_t first_row, int64_t rows,
         const uint8_t* x, int64_t channels, Number* padded) {
  const int64_t width = size.width + weights.across.before + weights.across.after;
  const int64_t stride = PlacesStride(weights.in_channels);
  const Number zero = static_cast<Number>(weights.input_zero_point);
  for (int64_t r = 0; r < rows; ++r) {
    Number* to = padded + r * width * channels;
    const int64_t row = first_row + r - weights.down.before;
    if (row < 0 || row >= size.height) {
      std::fill_n(to, width * channels, zero);
      continue;
    }
    std::fill_n(to, weights.across.before * channels, zero);
    Number* inside = to + weights.across.before * channels;
    const uint8_t* from = x + row * size.width * stride;
    if (std::is_same<Number, uint8_t>::value && channels == stride) {
      std::memcpy(inside, from, size.width * stride);
    } else {
      for (int64_t column = 0; column < size.width; ++column) {
        for (int64_t c = 0; c < channels; ++c) {
          inside[column * channels + c] = c < stride ? static_cast<Number>(from[column * stride + c]) : Number{0};
        }
      }
    }
    std::fill_n(inside + size.width * channels, weights.across.after * channels, zero);
  }
}

}  // namespace

IntegerConvPlan::IntegerConvPlan(const IntegerConvWeights& weights, Size size) : weights_(weights), size_(size) {
  const IntegerConvRows rows = Rows();
  output_ = {weights.down.Outputs(size.height), weights.across.Outputs(size.width)};
  PRUNELAB_CHECK(output_.height >= 1 && output_.width >= 1) << "a window that does not fit";
  const int64_t groups = weights.groups, in = weights.in_channels / groups, out = weights.out_channels / groups;
  const int64_t taps = weights.down.kernel * weights.across.kernel;
  PRUNELAB_CHECK(static_cast<int64_t>(weights.levels.size()) == weights.out_channels * in * taps);
  depthwise_ = groups == weights.in_channels && groups == weights.out_channels && groups > 1;
  const auto one = [](const IntegerConvAxis& axis) {
    return axis.kernel == 1 && axis.stride == 1 && axis.before == 0 && axis.after == 0;
  };
  pointwise_ = groups == 1 && one(weights.down) && one(weights.across);
  inputs_ = rows.inputs;
  outputs_ = rows.outputs;
  blocks_ = (out + outputs_ - 1) / outputs_;
  steps_ = (in + inputs_ - 1) / inputs_;
  // By group, or for depthwise convolutions all together, padded to whole vectors.
  const int64_t padded = depthwise_ ? RoundedUp(weights.out_channels, outputs_) : groups * blocks_ * outputs_;
  bias_.assign(padded, 0);
  multiplier_.assign(padded, 0);
  half_.assign(padded, 0);
  shift_.assign(padded, 1);
  const auto level = [&](int64_t o, int64_t i, int64_t tap) { return weights.levels[(o * in + i) * taps + tap]; };
  for (int64_t o = 0; o < weights.out_channels; ++o) {
    const int64_t at = depthwise_ ? o : o / out * blocks_ * outputs_ + o % out;
    int64_t sum = 0;
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t tap = 0; tap < taps; ++tap) sum += level(o, i, tap);
    }
    bias_[at] = static_cast<int32_t>(weights.bias[o] - weights.input_zero_point * sum);
    if (weights.multiplier.empty()) continue;
    multiplier_[at] = weights.multiplier[o];
    shift_[at] = weights.shift[o];
    half_[at] = int64_t{1} << (weights.shift[o] - 1);
  }
  if (depthwise_) {
    packed_.assign(taps * padded * sizeof(int32_t), 0);
    int32_t* to = reinterpret_cast<int32_t*>(packed_.data());
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t o = 0; o < weights.out_channels; ++o) {
        // The lower 16 bits alone, which a product of 16-bit numbers reads.
        const int32_t value = level(o, 0, tap);
        to[tap * padded + o] = inputs_ == 1 ? value : value & 0xffff;
      }
    }
    return;
  }
  const int64_t bytes = inputs_ == 2 ? 2 : 1;
  packed_.assign(groups * blocks_ * taps * steps_ * outputs_ * inputs_ * bytes, 0);
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t i = 0; i < in; ++i) {
          const int64_t block = g * blocks_ + o / outputs_;
          const int64_t at =
              (((block * taps + tap) * steps_ + i / inputs_) * outputs_ + o % outputs_) * inputs_ + i % inputs_;
          const int16_t value = level(g * out + o, i, tap);
          if (bytes == 2) {
            std::memcpy(packed_.data() + 2 * at, &value, 2);
          } else {
            packed_[at] = static_cast<uint8_t>(value);
          }
        }
      }
    }
  }
}

void IntegerConvPlan::RunRows(int64_t image, int64_t first, int64_t count, const uint8_t* x, uint8_t* y,
                              int32_t* sums) const {
  const IntegerConvAxis &down = weights_.down, &across = weights_.across;
  const bool wide = !depthwise_ && inputs_ == 2;  // 16-bit inputs
  const int64_t in_stride = PlacesStride(weights_.in_channels), out_stride = PlacesStride(weights_.out_channels);
  const int64_t bytes = wide ? 2 : 1;
  const uint8_t* image_x = x + image * size_.height * size_.width * in_stride;
  const bool pads = down.before > 0 || down.after > 0 || across.before > 0 || across.after > 0;
  const uint8_t* source = image_x;
  int64_t width = size_.width, first_row = 0;
  thread_local std::vector<uint8_t> buffer;
  if (pads || wide) {
    // The rows that these outputs read. A vector may read up to 16 bytes beyond them.
    width += across.before + across.after;
    first_row = first * down.stride;
    const int64_t rows = (count - 1) * down.stride + down.dilation * (down.kernel - 1) + 1;
    buffer.resize(rows * width * in_stride * bytes + 64);
    if (wide) {
      Pad(weights_, size_, first_row, rows, image_x, in_stride, reinterpret_cast<int16_t*>(buffer.data()));
    } else {
      Pad(weights_, size_, first_row, rows, image_x, in_stride, buffer.data());
    }
    source = buffer.data();
  }
  thread_local std::vector<int64_t> taps;
  taps.clear();
  for (int64_t r = 0; r < down.kernel; ++r) {
    for (int64_t c = 0; c < across.kernel; ++c) {
      taps.push_back((r * down.dilation * width + c * across.dilation) * in_stride * bytes);
    }
  }
  const IntegerConvRows rows = Rows();
  const int64_t groups = depthwise_ ? 1 : weights_.groups;
  const int64_t in = weights_.in_channels / groups, out = weights_.out_channels / groups;
  const int64_t block_bytes = static_cast<int64_t>(taps.size()) * steps_ * outputs_ * inputs_ * bytes;
  for (int64_t r = first; r < first + count; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t at = g * blocks_ * outputs_,
                    place = (image * output_.height + r) * output_.width * out_stride + g * out;
      IntegerConvRow row;
      row.x = source + ((r * down.stride - first_row) * width * in_stride + g * in) * bytes;
      row.pixel = across.stride * in_stride * bytes;
      row.taps = taps.data();
      row.tap_count = static_cast<int64_t>(taps.size());
      row.steps = steps_;
      row.threes = across.kernel == 3 && across.stride == 1 && across.dilation == 1;
      row.weights = packed_.data() + g * blocks_ * block_bytes;
      row.bias = bias_.data() + at;
      row.pixels = output_.width;
      row.channels = out;
      row.rescaling = {multiplier_.data() + at, half_.data() + at, shift_.data() + at,
                       weights_.zero_point,     weights_.first,    weights_.last};
      row.y = y == nullptr ? nullptr : y + place;
      row.sums = sums == nullptr ? nullptr : sums + place;
      row.stride = out_stride;
      (depthwise_ ? rows.depthwise : rows.row)(row);
    }
  }
}

void IntegerConvPlan::RunPixels(int64_t first, int64_t count, const uint8_t* x, uint8_t* y, int32_t* sums) const {
  const IntegerConvRows rows = Rows();
  const int64_t in_stride = PlacesStride(weights_.in_channels), out_stride = PlacesStride(weights_.out_channels);
  const int64_t bytes = inputs_ == 2 ? 2 : 1;
  const uint8_t* source = x + first * in_stride;
  thread_local std::vector<uint8_t> buffer;
  if (inputs_ == 2) {
    buffer.resize(count * in_stride * bytes + 64);
    int16_t* wide = reinterpret_cast<int16_t*>(buffer.data());
    for (int64_t i = 0; i < count * in_stride; ++i) wide[i] = source[i];
    source = buffer.data();
  }
  const int64_t tap = 0;
  IntegerConvRow row;
  row.x = source;
  row.pixel = in_stride * bytes;
  row.taps = &tap;
  row.tap_count = 1;
  row.steps = steps_;
  row.threes = false;
  row.weights = packed_.data();
  row.bias = bias_.data();
  row.pixels = count;
  row.channels = weights_.out_channels;
  row.rescaling = {multiplier_.data(), half_.data(), shift_.data(), weights_.zero_point, weights_.first, weights_.last};
  row.y = y == nullptr ? nullptr : y + first * out_stride;
  row.sums = sums == nullptr ? nullptr : sums + first * out_stride;
  row.stride = out_stride;
  rows.row(row);
}

void IntegerConvPlan::RunAll(int64_t images, const uint8_t* x, uint8_t* y, int32_t* sums) const {
  if (pointwise_) {
    // All pixels of all images are alike.
    constexpr int64_t kPiece = 128;
    const int64_t pixels = images * size_.height * size_.width;
    ParallelFor((pixels + kPiece - 1) / kPiece,
                [&](int64_t i) { RunPixels(i * kPiece, std::min(kPiece, pixels - i * kPiece), x, y, sums); });
    return;
  }
  // A single image in pieces of about 100,000 multiplications or more.
  const int64_t macs = output_.width * static_cast<int64_t>(weights_.levels.size());
  const int64_t rows = images > 1 ? output_.height : std::max<int64_t>(1, std::min(output_.height, 100000 / macs + 1));
  const int64_t pieces = (output_.height + rows - 1) / rows;
  ParallelFor(images * pieces, [&](int64_t i) {
    const int64_t first = i % pieces * rows;
    RunRows(i / pieces, first, std::min(rows, output_.height - first), x, y, sums);
  });
}

void IntegerConvPlan::Run(int64_t images, const uint8_t* x, uint8_t* y) const {
  PRUNELAB_CHECK(!weights_.multiplier.empty()) << "no multipliers: only sums can be computed";
  RunAll(images, x, y, nullptr);
}

void IntegerConvPlan::Accumulate(int64_t images, const uint8_t* x, int32_t* sums) const {
  RunAll(images, x, nullptr, sums);
}

}  // namespace prunelab
