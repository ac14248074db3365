#include "ml/data/batches.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "ml/base/check.h"
#include "ml/base/random.h"

namespace prunelab {
namespace {

// Where a sample's pixels come from: the output pixel (y, x) is the source's (y + dy, x + dx), black outside of the
// source, and the output is mirrored if `flip`.
struct Placement {
  int64_t image = 0;
  int64_t dy = 0, dx = 0;
  bool flip = false;
};

// Normalized values of one channel's pixels. For uint8 this is a table: one division for each of 256 values instead of
// one per pixel.
template <typename Source, typename Out>
class ChannelValues;

template <typename Out>
class ChannelValues<uint8_t, Out> {
 public:
  ChannelValues(double scale, double mean, double stddev) {
    for (int x = 0; x < 256; ++x) table_[x] = static_cast<Out>((x * scale - mean) / stddev);
  }
  Out operator()(uint8_t x) const { return table_[x]; }

 private:
  Out table_[256];
};

template <typename Out>
class ChannelValues<float, Out> {
 public:
  ChannelValues(double scale, double mean, double stddev) : scale_(scale), mean_(mean), stddev_(stddev) {}
  Out operator()(float x) const { return static_cast<Out>((x * scale_ - mean_) / stddev_); }

 private:
  double scale_, mean_, stddev_;
};

struct ImageShape {
  int64_t channels, height, width;
};

// One sample: `source` is [C, H, W], `out` is [H, W, C]. kChannels is the number of channels, or 0 for any number: if
// it is known at compile time, a pixel's channels are written together without a loop.
template <int64_t kChannels, typename Source, typename Out>
void WriteSample(const Source* source, const ImageShape& shape, const Placement& place,
                 const std::vector<ChannelValues<Source, Out>>& values, Out* out) {
  const int64_t channels = kChannels > 0 ? kChannels : shape.channels;
  const int64_t height = shape.height, width = shape.width, plane = height * width;
  // Output columns [begin, end) lie inside the source, which is read from `first` on in steps of `step`.
  int64_t begin = std::clamp<int64_t>(-place.dx, 0, width), end = std::clamp<int64_t>(width - place.dx, 0, width);
  if (place.flip) {
    const int64_t mirrored = width - end;
    end = width - begin;
    begin = mirrored;
  }
  const int64_t step = place.flip ? -1 : 1;
  const int64_t first = place.flip ? width - 1 - begin + place.dx : begin + place.dx;
  const auto fill_black = [&](Out* pixel, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t c = 0; c < channels; ++c) *pixel++ = values[c](0);
    }
  };
  for (int64_t y = 0; y < height; ++y, out += width * channels) {
    const int64_t source_y = y + place.dy;
    if (source_y < 0 || source_y >= height) {
      fill_black(out, width);
      continue;
    }
    fill_black(out, begin);
    const Source* from = source + source_y * width + first;
    Out* to = out + begin * channels;
    for (int64_t x = begin; x < end; ++x, from += step, to += channels) {
      for (int64_t c = 0; c < channels; ++c) to[c] = values[c](from[c * plane]);
    }
    fill_black(out + end * channels, width - end);
  }
}

// Threads share the samples in groups of at least this many pixel values.
constexpr int64_t kValuesPerTask = 1 << 15;

template <typename Source, typename Out>
void WriteImages(const LabelledImages& data, const Normalization& normalization,
                 const std::vector<Placement>& placements, bool parallel, const at::Tensor& out) {
  const ImageShape shape = {data.images.size(1), data.images.size(2), data.images.size(3)};
  std::vector<ChannelValues<Source, Out>> values;
  values.reserve(shape.channels);
  for (int64_t c = 0; c < shape.channels; ++c) {
    values.emplace_back(normalization.scale, normalization.mean[c], normalization.stddev[c]);
  }
  const int64_t sample = shape.channels * shape.height * shape.width;
  const Source* source = data.images.const_data_ptr<Source>();
  Out* target = out.mutable_data_ptr<Out>();
  const auto write = shape.channels == 3   ? &WriteSample<3, Source, Out>
                     : shape.channels == 1 ? &WriteSample<1, Source, Out>
                                           : &WriteSample<0, Source, Out>;
  const auto write_some = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      write(source + placements[i].image * sample, shape, placements[i], values, target + i * sample);
    }
  };
  const int64_t count = static_cast<int64_t>(placements.size());
  if (parallel) {
    at::parallel_for(0, count, std::max<int64_t>(1, kValuesPerTask / std::max<int64_t>(1, sample)), write_some);
  } else {
    write_some(0, count);
  }
}

void Check(const LabelledImages& data, const Normalization& normalization) {
  PRUNELAB_CHECK(data.images.dim() == 4 && data.images.is_contiguous() && data.images.is_cpu());
  PRUNELAB_CHECK(data.images.scalar_type() == at::kByte || data.images.scalar_type() == at::kFloat)
      << "images of type " << c10::toString(data.images.scalar_type());
  PRUNELAB_CHECK(data.labels.scalar_type() == at::kLong && data.labels.is_contiguous() && data.labels.is_cpu());
  PRUNELAB_CHECK(data.images.size(0) == data.size());
  PRUNELAB_CHECK(static_cast<int64_t>(normalization.mean.size()) == data.images.size(1) &&
                 static_cast<int64_t>(normalization.stddev.size()) == data.images.size(1))
      << "normalization of " << normalization.mean.size() << " and " << normalization.stddev.size() << " channels for "
      << data.images.size(1);
}

// On the host, to be copied to `device`.
Batch Assemble(const LabelledImages& data, const Normalization& normalization, const std::vector<Placement>& placements,
               at::ScalarType dtype, at::Device device, bool parallel) {
  const int64_t n = static_cast<int64_t>(placements.size());
  // Types narrower than float32 are rounded from float32.
  const at::ScalarType computed = dtype == at::kDouble ? at::kDouble : at::kFloat;
  // A GPU copies a batch from page-locked memory while the host continues; until the copy is done, LibTorch does not
  // reuse that memory.
  const bool pinned = device.is_cuda();
  Batch batch;
  batch.images = at::empty({n, data.images.size(1), data.images.size(2), data.images.size(3)},
                           at::TensorOptions().dtype(computed).pinned_memory(pinned), at::MemoryFormat::ChannelsLast);
  batch.labels = at::empty({n}, at::TensorOptions().dtype(at::kLong).pinned_memory(pinned));
  const int64_t* source = data.labels.const_data_ptr<int64_t>();
  int64_t* target = batch.labels.mutable_data_ptr<int64_t>();
  for (const Placement& place : placements) *target++ = source[place.image];
  const bool bytes = data.images.scalar_type() == at::kByte;
  const auto write = computed == at::kDouble ? (bytes ? &WriteImages<uint8_t, double> : &WriteImages<float, double>)
                                             : (bytes ? &WriteImages<uint8_t, float> : &WriteImages<float, float>);
  write(data, normalization, placements, parallel, batch.images);
  return batch;
}

Batch OnDevice(const Batch& batch, at::ScalarType dtype, at::Device device) {
  const bool pinned = device.is_cuda();
  return {batch.images.to(device, dtype, /*non_blocking=*/pinned),
          batch.labels.to(device, at::kLong, /*non_blocking=*/pinned)};
}

}  // namespace

TrainingBatches::TrainingBatches(const LabelledImages& data, const Normalization& normalization,
                                 Augmentation augmentation, int64_t batch_size, uint64_t seed, at::ScalarType dtype,
                                 at::Device device, bool ahead)
    : data_(data),
      normalization_(normalization),
      augmentation_(augmentation),
      batch_size_(batch_size),
      seed_(seed),
      dtype_(dtype),
      device_(device),
      ahead_(ahead) {
  Check(data, normalization);
  PRUNELAB_CHECK(data.size() >= 1) << "no data";
  PRUNELAB_CHECK(batch_size >= 1) << "batch size " << batch_size;
  PRUNELAB_CHECK(augmentation.random_crop_padding >= 0) << "padding " << augmentation.random_crop_padding;
  PRUNELAB_CHECK(at::isFloatingType(dtype)) << c10::toString(dtype);
}

int64_t TrainingBatches::batches_per_epoch() const { return (data_.size() + batch_size_ - 1) / batch_size_; }

Batch TrainingBatches::Assemble(int64_t epoch, int64_t index, const std::vector<int64_t>& order, bool parallel) const {
  const int64_t begin = index * batch_size_, end = std::min(begin + batch_size_, data_.size());
  const int64_t padding = augmentation_.random_crop_padding;
  std::vector<Placement> placements;
  placements.reserve(end - begin);
  for (int64_t i = begin; i < end; ++i) {
    RandomStream stream(seed_, "augmentation", epoch, order[i]);
    Placement place;
    place.image = order[i];
    place.dy = static_cast<int64_t>(stream.Below(2 * padding + 1)) - padding;
    place.dx = static_cast<int64_t>(stream.Below(2 * padding + 1)) - padding;
    place.flip = stream.Below(2) == 1 && augmentation_.horizontal_flip;
    placements.push_back(place);
  }
  return prunelab::Assemble(data_, normalization_, placements, dtype_, device_, parallel);
}

Batch TrainingBatches::Get(int64_t epoch, int64_t index) {
  PRUNELAB_CHECK(epoch >= 0 && index >= 0 && index < batches_per_epoch()) << "batch " << index << " of epoch " << epoch;
  if (epoch != order_epoch_) {
    RandomStream stream(seed_, "shuffle", epoch);
    order_ = std::make_shared<const std::vector<int64_t>>(RandomPermutation(data_.size(), stream));
    order_epoch_ = epoch;
  }
  Batch batch;
  if (next_.valid()) batch = next_.get();
  if (epoch != next_epoch_ || index != next_index_) batch = Assemble(epoch, index, *order_, /*parallel=*/true);
  next_epoch_ = next_index_ = -1;
  if (ahead_ && index + 1 < batches_per_epoch()) {
    next_epoch_ = epoch;
    next_index_ = index + 1;
    next_ = std::async(std::launch::async, [this, epoch, index, order = order_] {
      return Assemble(epoch, index + 1, *order, /*parallel=*/false);
    });
  }
  return OnDevice(batch, dtype_, device_);
}

Batch EvaluationBatch(const LabelledImages& data, const Normalization& normalization, int64_t begin, int64_t end,
                      at::ScalarType dtype, at::Device device) {
  Check(data, normalization);
  PRUNELAB_CHECK(0 <= begin && begin <= end && end <= data.size())
      << "images " << begin << " to " << end << " of " << data.size();
  PRUNELAB_CHECK(at::isFloatingType(dtype)) << c10::toString(dtype);
  std::vector<Placement> placements(end - begin);
  for (int64_t i = begin; i < end; ++i) placements[i - begin].image = i;
  return OnDevice(Assemble(data, normalization, placements, dtype, device, /*parallel=*/true), dtype, device);
}

Batch SelectedBatch(const LabelledImages& data, const Normalization& normalization, const std::vector<int64_t>& images,
                    at::ScalarType dtype, at::Device device) {
  Check(data, normalization);
  PRUNELAB_CHECK(at::isFloatingType(dtype)) << c10::toString(dtype);
  std::vector<Placement> placements(images.size());
  for (size_t i = 0; i < images.size(); ++i) {
    PRUNELAB_CHECK(images[i] >= 0 && images[i] < data.size()) << "image " << images[i] << " of " << data.size();
    placements[i].image = images[i];
  }
  return OnDevice(Assemble(data, normalization, placements, dtype, device, /*parallel=*/true), dtype, device);
}

}  // namespace prunelab
