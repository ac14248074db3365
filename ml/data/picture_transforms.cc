#include "ml/data/picture_transforms.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ml/base/check.h"

namespace prunelab {
namespace {

// Weights are fixed-point numbers with this many bits behind the point, as Pillow's.
constexpr int kFractionBits = 22;

// How the output pixels from `from` on along one axis come from input pixels.
struct AxisFilter {
  int64_t taps = 0;              // the most that an output pixel has
  std::vector<int64_t> first;    // input pixel, by output pixel
  std::vector<int64_t> count;    // of taps, by output pixel
  std::vector<int32_t> weights;  // [outputs, taps]
  int64_t begin() const { return *std::min_element(first.begin(), first.end()); }
  int64_t end() const {
    int64_t end = 0;
    for (size_t i = 0; i < first.size(); ++i) end = std::max(end, first[i] + count[i]);
    return end;
  }
};

double Triangle(double x) { return std::max(0.0, 1 - std::abs(x)); }

AxisFilter TriangleFilter(int64_t in, int64_t out, int64_t from, int64_t count) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = std::max(scale, 1.0);  // of a triangle widened by it
  AxisFilter filter;
  filter.taps = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  filter.weights.assign(count * filter.taps, 0);
  std::vector<double> weights(filter.taps);
  for (int64_t i = 0; i < count; ++i) {
    const double center = (static_cast<double>(from + i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    const int64_t end = std::min(in, static_cast<int64_t>(center + support + 0.5));
    double sum = 0;
    for (int64_t j = first; j < end; ++j) {
      weights[j - first] = Triangle((static_cast<double>(j) - center + 0.5) * (1 / support));
      sum += weights[j - first];
    }
    filter.first.push_back(first);
    filter.count.push_back(end - first);
    for (int64_t j = 0; j < end - first; ++j) {
      const double weight = sum != 0 ? weights[j] / sum : weights[j];
      filter.weights[i * filter.taps + j] = static_cast<int32_t>(0.5 + weight * (1 << kFractionBits));
    }
  }
  return filter;
}

uint8_t Rounded(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255)); }

constexpr int32_t kHalf = 1 << (kFractionBits - 1);

// kChannels as in the view, or 0 for any number.
template <int kChannels>
void ScaleRow(const uint8_t* source, const AxisFilter& filter, int64_t channels_if_any, uint8_t* out) {
  const int64_t channels = kChannels > 0 ? kChannels : channels_if_any;
  const int64_t outputs = static_cast<int64_t>(filter.first.size());
  for (int64_t i = 0; i < outputs; ++i) {
    const int32_t* weights = filter.weights.data() + i * filter.taps;
    const uint8_t* pixel = source + filter.first[i] * channels;
    const int64_t count = filter.count[i];
    if constexpr (kChannels == 3) {
      int32_t a = kHalf, b = kHalf, c = kHalf;
      for (int64_t j = 0; j < count; ++j, pixel += 3) {
        a += weights[j] * pixel[0];
        b += weights[j] * pixel[1];
        c += weights[j] * pixel[2];
      }
      out[0] = Rounded(a);
      out[1] = Rounded(b);
      out[2] = Rounded(c);
      out += 3;
    } else {
      for (int64_t c = 0; c < channels; ++c) {
        int32_t sum = kHalf;
        for (int64_t j = 0; j < count; ++j) sum += weights[j] * pixel[j * channels + c];
        *out++ = Rounded(sum);
      }
    }
  }
}

// `sum` of rows `row_bytes` apart, by their weights. Blocks of a fixed length become vector instructions.
void AddRows(const uint8_t* rows, int64_t row_bytes, const int32_t* weights, int64_t count, uint8_t* out) {
  constexpr int64_t kBlock = 32;
  int64_t x = 0;
  for (; x + kBlock <= row_bytes; x += kBlock) {
    int32_t sums[kBlock];
    for (int64_t k = 0; k < kBlock; ++k) sums[k] = kHalf;
    for (int64_t j = 0; j < count; ++j) {
      const uint8_t* row = rows + j * row_bytes + x;
      const int32_t weight = weights[j];
      for (int64_t k = 0; k < kBlock; ++k) sums[k] += weight * row[k];
    }
    for (int64_t k = 0; k < kBlock; ++k) out[x + k] = Rounded(sums[k]);
  }
  for (; x < row_bytes; ++x) {
    int32_t sum = kHalf;
    for (int64_t j = 0; j < count; ++j) sum += weights[j] * rows[j * row_bytes + x];
    out[x] = Rounded(sum);
  }
}

// Half-way cases go to the even number, as in Python.
int64_t RoundHalfEven(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

// Pillow's Image.blend(`from`, `to`, alpha) of one value.
uint8_t Blend(int from, int to, float alpha) {
  const float value = static_cast<float>(from) + alpha * static_cast<float>(to - from);
  return value <= 0 ? 0 : value >= 255 ? 255 : static_cast<uint8_t>(value);
}

void ScaleBrightness(double factor, int64_t count, uint8_t* pixels) {
  uint8_t table[256];
  for (int x = 0; x < 256; ++x) table[x] = Blend(0, x, static_cast<float>(factor));
  for (int64_t i = 0; i < 3 * count; ++i) pixels[i] = table[pixels[i]];
}

void ScaleContrast(double factor, int64_t count, uint8_t* pixels) {
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += Luma(pixels + 3 * i);
  const int mean = static_cast<int>(static_cast<double>(sum) / static_cast<double>(count) + 0.5);
  uint8_t table[256];
  for (int x = 0; x < 256; ++x) table[x] = Blend(mean, x, static_cast<float>(factor));
  for (int64_t i = 0; i < 3 * count; ++i) pixels[i] = table[pixels[i]];
}

void ScaleSaturation(double factor, int64_t count, uint8_t* pixels) {
  const float alpha = static_cast<float>(factor);
  for (uint8_t* pixel = pixels; pixel < pixels + 3 * count; pixel += 3) {
    const int grey = Luma(pixel);
    for (int c = 0; c < 3; ++c) pixel[c] = Blend(grey, pixel[c], alpha);
  }
}

uint8_t Clipped(int x) { return static_cast<uint8_t>(std::clamp(x, 0, 255)); }

// Hue, saturation and value of a pixel, each from 0 to 255. The steps in float and in double are Pillow's, whose bits
// depend on them.
void ToHsv(const uint8_t* rgb, uint8_t* hsv) {
  const uint8_t r = rgb[0], g = rgb[1], b = rgb[2];
  const uint8_t most = std::max({r, g, b}), least = std::min({r, g, b});
  hsv[2] = most;
  if (most == least) {
    hsv[0] = hsv[1] = 0;
    return;
  }
  const float range = static_cast<float>(most - least);
  const float saturation = range / static_cast<float>(most);
  const float rc = static_cast<float>(most - r) / range;
  const float gc = static_cast<float>(most - g) / range;
  const float bc = static_cast<float>(most - b) / range;
  float hue;
  if (r == most) {
    hue = bc - gc;
  } else if (g == most) {
    hue = static_cast<float>(2.0 + rc - bc);
  } else {
    hue = static_cast<float>(4.0 + gc - rc);
  }
  hue = static_cast<float>(std::fmod(hue / 6.0 + 1.0, 1.0));
  hsv[0] = Clipped(static_cast<int>(hue * 255.0));
  hsv[1] = Clipped(static_cast<int>(saturation * 255.0));
}

void ToRgb(const uint8_t* hsv, uint8_t* rgb) {
  const uint8_t h = hsv[0], s = hsv[1], v = hsv[2];
  if (s == 0) {
    rgb[0] = rgb[1] = rgb[2] = v;
    return;
  }
  const int sixth = static_cast<int>(std::floor(static_cast<float>(h) * 6.0 / 255.0));
  const float rest = static_cast<float>(static_cast<float>(h) * 6.0 / 255.0 - static_cast<float>(sixth));
  const float saturation = static_cast<float>(static_cast<float>(s) / 255.0);
  const float value = v;
  const uint8_t p = Clipped(static_cast<int>(std::round(value * (1.0 - saturation))));
  const uint8_t q = Clipped(static_cast<int>(std::round(value * (1.0 - saturation * rest))));
  const uint8_t t = Clipped(static_cast<int>(std::round(value * (1.0 - saturation * (1.0 - rest)))));
  const uint8_t by_sixth[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
  std::copy_n(by_sixth[sixth % 6], 3, rgb);
}

void TurnHue(double fraction, int64_t count, uint8_t* pixels) {
  // Towards zero, then modulo 256.
  const uint8_t turn = static_cast<uint8_t>(static_cast<int>(fraction * 255));
  for (uint8_t* pixel = pixels; pixel < pixels + 3 * count; pixel += 3) {
    uint8_t hsv[3];
    ToHsv(pixel, hsv);
    hsv[0] = static_cast<uint8_t>(hsv[0] + turn);
    ToRgb(hsv, pixel);
  }
}

double UniformBetween(double least, double most, RandomStream& stream) {
  return least + (most - least) * stream.Uniform();
}

}  // namespace

PixelView Cut(const PixelView& view, const PixelBox& box) {
  PRUNELAB_CHECK(box.top >= 0 && box.left >= 0 && box.height >= 1 && box.width >= 1 &&
                 box.top + box.height <= view.height && box.left + box.width <= view.width)
      << box.height << "x" << box.width << " at " << box.top << ", " << box.left << " of " << view.height << "x"
      << view.width;
  return {view.pixels + box.top * view.row_bytes + box.left * view.channels, box.height, box.width, view.channels,
          view.row_bytes};
}

void ResizeBilinear(const PixelView& view, int64_t height, int64_t width, const PixelBox& wanted, uint8_t* out) {
  PRUNELAB_CHECK(height >= 1 && width >= 1 && wanted.height >= 1 && wanted.width >= 1 && wanted.top >= 0 &&
                 wanted.left >= 0 && wanted.top + wanted.height <= height && wanted.left + wanted.width <= width);
  const AxisFilter rows = TriangleFilter(view.height, height, wanted.top, wanted.height);
  const AxisFilter columns = TriangleFilter(view.width, width, wanted.left, wanted.width);
  const int64_t first_row = rows.begin(), last_row = rows.end(), row_bytes = wanted.width * view.channels;
  std::vector<uint8_t> narrow((last_row - first_row) * row_bytes);
  const auto scale_row = view.channels == 3 ? &ScaleRow<3> : view.channels == 1 ? &ScaleRow<1> : &ScaleRow<0>;
  for (int64_t y = first_row; y < last_row; ++y) {
    scale_row(view.pixels + y * view.row_bytes, columns, view.channels, narrow.data() + (y - first_row) * row_bytes);
  }
  for (int64_t y = 0; y < wanted.height; ++y, out += row_bytes) {
    AddRows(narrow.data() + (rows.first[y] - first_row) * row_bytes, row_bytes, rows.weights.data() + y * rows.taps,
            rows.count[y], out);
  }
}

void ResizeAndCenterCrop(const PixelView& view, int64_t resize, int64_t crop, uint8_t* out) {
  PRUNELAB_CHECK(crop >= 1 && crop <= resize);
  const int64_t shorter = std::min(view.height, view.width);
  const int64_t height = view.height <= view.width ? resize : resize * view.height / shorter;
  const int64_t width = view.width <= view.height ? resize : resize * view.width / shorter;
  const PixelBox middle = {RoundHalfEven(static_cast<double>(height - crop) / 2),
                           RoundHalfEven(static_cast<double>(width - crop) / 2), crop, crop};
  ResizeBilinear(view, height, width, middle, out);
}

PixelBox DrawCrop(const RandomResizedCrop& crop, int64_t height, int64_t width, RandomStream& stream) {
  const double area = static_cast<double>(height) * static_cast<double>(width);
  const double least = std::log(crop.least_ratio), most = std::log(crop.most_ratio);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * UniformBetween(crop.least_area, crop.most_area, stream);
    const double ratio = std::exp(UniformBetween(least, most, stream));
    const int64_t w = RoundHalfEven(std::sqrt(target * ratio)), h = RoundHalfEven(std::sqrt(target / ratio));
    if (w < 1 || w > width || h < 1 || h > height) continue;
    const int64_t top = static_cast<int64_t>(stream.Below(height - h + 1));
    const int64_t left = static_cast<int64_t>(stream.Below(width - w + 1));
    return {top, left, h, w};
  }
  const double ratio = static_cast<double>(width) / static_cast<double>(height);
  int64_t w = width, h = height;
  if (ratio < crop.least_ratio) h = std::max<int64_t>(1, RoundHalfEven(static_cast<double>(w) / crop.least_ratio));
  if (ratio > crop.most_ratio) w = std::max<int64_t>(1, RoundHalfEven(static_cast<double>(h) * crop.most_ratio));
  return {(height - h) / 2, (width - w) / 2, h, w};
}

ColorChange DrawColorChange(const ColorJitter& jitter, RandomStream& stream) {
  ColorChange change;
  const std::vector<int64_t> order = RandomPermutation(4, stream);
  for (int i = 0; i < 4; ++i) change.order[i] = static_cast<ColorChange::Kind>(order[i]);
  const double factors[] = {jitter.brightness, jitter.contrast, jitter.saturation};
  for (int kind = 0; kind < 3; ++kind) {
    // Drawn whatever is switched on, so that one switch does not change what the others do.
    const double amount = UniformBetween(std::max(0.0, 1 - factors[kind]), 1 + factors[kind], stream);
    change.applied[kind] = factors[kind] > 0;
    change.amounts[kind] = amount;
  }
  change.applied[ColorChange::kHue] = jitter.hue > 0;
  change.amounts[ColorChange::kHue] = UniformBetween(-jitter.hue, jitter.hue, stream);
  return change;
}

void ChangeColors(const ColorChange& change, int64_t count, uint8_t* pixels) {
  for (const ColorChange::Kind kind : change.order) {
    if (!change.applied[kind]) continue;
    switch (kind) {
      case ColorChange::kBrightness:
        ScaleBrightness(change.amounts[kind], count, pixels);
        break;
      case ColorChange::kContrast:
        ScaleContrast(change.amounts[kind], count, pixels);
        break;
      case ColorChange::kSaturation:
        ScaleSaturation(change.amounts[kind], count, pixels);
        break;
      case ColorChange::kHue:
        TurnHue(change.amounts[kind], count, pixels);
        break;
    }
  }
}

}  // namespace prunelab
