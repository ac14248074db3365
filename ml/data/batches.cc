#include "ml/data/batches.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "ml/base/check.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

// Where a sample's pixels come from: the output pixel (y, x) is the source's (y + dy, x + dx), black outside of the
// source, and the output is mirrored if `flip`.
struct Placement {
  int64_t image = 0;
  int64_t dy = 0, dx = 0;
  bool flip = false;
  // What is drawn for each sample besides. `crops`: a part of the whole picture, which these numbers choose, becomes
  // the source.
  bool crops = false;
  RandomResizedCrop crop;
  std::optional<RandomStream> crop_numbers;
  std::optional<ColorChange> colors;
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

// How far apart a source's values are: of [C, H, W] or of [H, W, C].
struct Strides {
  int64_t channel, row, column;
};

struct ImageShape {
  int64_t channels, height, width;
  Strides planar() const { return {height * width, width, 1}; }
  Strides interleaved() const { return {1, width * channels, channels}; }
  int64_t values() const { return channels * height * width; }
};

// One sample: `source` is [C, H, W] or [H, W, C], `out` is [H, W, C]. kChannels is the number of channels, or 0 for any
// number: if it is known at compile time, a pixel's channels are written together without a loop.
template <int64_t kChannels, typename Source, typename Out>
void WriteSample(const Source* source, const Strides& strides, const ImageShape& shape, const Placement& place,
                 const std::vector<ChannelValues<Source, Out>>& values, Out* out) {
  const int64_t channels = kChannels > 0 ? kChannels : shape.channels;
  const int64_t height = shape.height, width = shape.width;
  // Output columns [begin, end) lie inside the source, which is read from `first` on in steps of `step`.
  int64_t begin = std::clamp<int64_t>(-place.dx, 0, width), end = std::clamp<int64_t>(width - place.dx, 0, width);
  if (place.flip) {
    const int64_t mirrored = width - end;
    end = width - begin;
    begin = mirrored;
  }
  const int64_t step = place.flip ? -strides.column : strides.column;
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
    const Source* from = source + source_y * strides.row + first * strides.column;
    Out* to = out + begin * channels;
    for (int64_t x = begin; x < end; ++x, from += step, to += channels) {
      for (int64_t c = 0; c < channels; ++c) to[c] = values[c](from[c * strides.channel]);
    }
    fill_black(out + end * channels, width - end);
  }
}

// Threads share the samples in groups of at least this many pixel values.
constexpr int64_t kValuesPerTask = 1 << 15;

// Writes samples of one data set.
class Samples {
 public:
  virtual ~Samples() = default;
  // Writes a sample to its place in `out`, the images of a batch. Any thread may call it.
  virtual absl::Status Write(const Placement& place, int64_t position, const at::Tensor& out) const = 0;
};

template <typename Source, typename Out>
class TypedSamples : public Samples {
 public:
  TypedSamples(const LabelledImages& data, const Normalization& normalization) : data_(data) {
    const auto [channels, height, width] = ShapeOf(data);
    shape_ = {channels, height, width};
    for (int64_t c = 0; c < channels; ++c) {
      values_.emplace_back(normalization.scale, normalization.mean[c], normalization.stddev[c]);
    }
    write_ = channels == 3   ? &WriteSample<3, Source, Out>
             : channels == 1 ? &WriteSample<1, Source, Out>
                             : &WriteSample<0, Source, Out>;
  }

  absl::Status Write(const Placement& place, int64_t position, const at::Tensor& out) const override {
    Out* target = out.mutable_data_ptr<Out>() + position * shape_.values();
    if (data_.source == nullptr && !place.crops && !place.colors) {
      const Source* image = data_.images.template const_data_ptr<Source>() + place.image * shape_.values();
      write_(image, shape_.planar(), shape_, place, values_, target);
      return absl::OkStatus();
    }
    if constexpr (std::is_same_v<Source, uint8_t>) return WriteBytes(place, target);
    PRUNELAB_CHECK(false) << "images of floats are neither cropped to another size nor changed in colour";
  }

 private:
  // The sample's image [H, W, C], cropped and changed in colour, before its flip.
  absl::Status WriteBytes(const Placement& place, Out* target) const {
    std::vector<uint8_t> image(shape_.values());
    if (place.crops) {
      PRUNELAB_ASSIGN_OR_RETURN(const HeldPicture picture, Whole(place.image));
      RandomStream numbers = *place.crop_numbers;
      const PixelBox box = DrawCrop(place.crop, picture.view.height, picture.view.width, numbers);
      ResizeBilinear(Cut(picture.view, box), shape_.height, shape_.width, {0, 0, shape_.height, shape_.width},
                     image.data());
    } else if (!place.colors) {
      PRUNELAB_RETURN_IF_ERROR(data_.source->Read(place.image, image.data()));
      write_(reinterpret_cast<const Source*>(image.data()), shape_.planar(), shape_, place, values_, target);
      return absl::OkStatus();
    } else {
      Placement moved = place;
      moved.flip = false;
      PRUNELAB_ASSIGN_OR_RETURN(image, Interleaved(moved));
    }
    if (place.colors) ChangeColors(*place.colors, shape_.height * shape_.width, image.data());
    Placement rest = place;  // the flip
    rest.dy = rest.dx = 0;
    write_(reinterpret_cast<const Source*>(image.data()), shape_.interleaved(), shape_, rest, values_, target);
    return absl::OkStatus();
  }

  absl::StatusOr<HeldPicture> Whole(int64_t image) const {
    if (data_.source != nullptr && data_.source->has_whole_pictures()) return data_.source->ReadWhole(image);
    Placement whole;
    whole.image = image;
    PRUNELAB_ASSIGN_OR_RETURN(std::vector<uint8_t> pixels, Interleaved(whole));
    auto owner = std::make_shared<const std::vector<uint8_t>>(std::move(pixels));
    const PixelView view = {owner->data(), shape_.height, shape_.width, shape_.channels,
                            shape_.width * shape_.channels};
    return HeldPicture{view, std::move(owner)};
  }

  // The image's bytes as [H, W, C], moved as the placement says.
  absl::StatusOr<std::vector<uint8_t>> Interleaved(const Placement& place) const {
    std::vector<uint8_t> planes;
    if (data_.source != nullptr) {
      planes.resize(shape_.values());
      PRUNELAB_RETURN_IF_ERROR(data_.source->Read(place.image, planes.data()));
    }
    const uint8_t* from = data_.source != nullptr ? planes.data()
                                                  : static_cast<const uint8_t*>(data_.images.const_data_ptr()) +
                                                        place.image * shape_.values();
    std::vector<uint8_t> pixels(shape_.values());
    const std::vector<ChannelValues<uint8_t, uint8_t>> unchanged(shape_.channels, {1, 0, 1});
    WriteSample<0>(from, shape_.planar(), shape_, place, unchanged, pixels.data());
    return pixels;
  }

  const LabelledImages& data_;
  ImageShape shape_ = {};
  std::vector<ChannelValues<Source, Out>> values_;
  void (*write_)(const Source*, const Strides&, const ImageShape&, const Placement&,
                 const std::vector<ChannelValues<Source, Out>>&, Out*) = nullptr;
};

std::unique_ptr<const Samples> SamplesOf(const LabelledImages& data, const Normalization& normalization,
                                         at::ScalarType computed) {
  if (computed == at::kDouble) {
    if (HasBytes(data)) return std::make_unique<TypedSamples<uint8_t, double>>(data, normalization);
    return std::make_unique<TypedSamples<float, double>>(data, normalization);
  }
  if (HasBytes(data)) return std::make_unique<TypedSamples<uint8_t, float>>(data, normalization);
  return std::make_unique<TypedSamples<float, float>>(data, normalization);
}

void Check(const LabelledImages& data, const Normalization& normalization, at::ScalarType dtype) {
  if (data.source != nullptr) {
    PRUNELAB_CHECK(!data.images.defined() && data.source->size() == data.size());
  } else {
    PRUNELAB_CHECK(data.images.dim() == 4 && data.images.is_contiguous() && data.images.is_cpu());
    PRUNELAB_CHECK(data.images.scalar_type() == at::kByte || data.images.scalar_type() == at::kFloat)
        << "images of type " << c10::toString(data.images.scalar_type());
    PRUNELAB_CHECK(data.images.size(0) == data.size());
  }
  PRUNELAB_CHECK(data.labels.scalar_type() == at::kLong && data.labels.is_contiguous() && data.labels.is_cpu());
  const int64_t channels = ShapeOf(data)[0];
  PRUNELAB_CHECK(static_cast<int64_t>(normalization.mean.size()) == channels &&
                 static_cast<int64_t>(normalization.stddev.size()) == channels)
      << "normalization of " << normalization.mean.size() << " and " << normalization.stddev.size() << " channels for "
      << channels;
  PRUNELAB_CHECK(at::isFloatingType(dtype)) << c10::toString(dtype);
}

// A batch on the host, which is being written.
struct Draft {
  Draft(const LabelledImages& data, const Normalization& normalization, std::vector<Placement> where,
        at::ScalarType dtype, at::Device device)
      : placements(std::move(where)) {
    // Types narrower than float32 are rounded from float32.
    const at::ScalarType computed = dtype == at::kDouble ? at::kDouble : at::kFloat;
    // A GPU copies a batch from page-locked memory while the host continues; until the copy is done, LibTorch does not
    // reuse that memory.
    const bool pinned = device.is_cuda();
    const int64_t n = static_cast<int64_t>(placements.size());
    const auto [channels, height, width] = ShapeOf(data);
    batch.images = at::empty({n, channels, height, width}, at::TensorOptions().dtype(computed).pinned_memory(pinned),
                             at::MemoryFormat::ChannelsLast);
    batch.labels = at::empty({n}, at::TensorOptions().dtype(at::kLong).pinned_memory(pinned));
    const int64_t* source = data.labels.const_data_ptr<int64_t>();
    int64_t* target = batch.labels.mutable_data_ptr<int64_t>();
    for (const Placement& place : placements) *target++ = source[place.image];
    samples = SamplesOf(data, normalization, computed);
    per_group = std::max<int64_t>(1, kValuesPerTask / std::max<int64_t>(1, channels * height * width));
  }

  // Samples are written in groups.
  int64_t groups() const { return (static_cast<int64_t>(placements.size()) + per_group - 1) / per_group; }
  absl::Status WriteGroup(int64_t group) const {
    const int64_t end = std::min(static_cast<int64_t>(placements.size()), (group + 1) * per_group);
    for (int64_t i = group * per_group; i < end; ++i) {
      PRUNELAB_RETURN_IF_ERROR(samples->Write(placements[i], i, batch.images));
    }
    return absl::OkStatus();
  }

  std::vector<Placement> placements;
  std::unique_ptr<const Samples> samples;
  Batch batch;
  int64_t per_group = 1;
};

Batch OnDevice(const Batch& batch, at::ScalarType dtype, at::Device device) {
  const bool pinned = device.is_cuda();
  return {batch.images.to(device, dtype, /*non_blocking=*/pinned),
          batch.labels.to(device, at::kLong, /*non_blocking=*/pinned)};
}

// Writes the draft by the threads of at::parallel_for.
absl::StatusOr<Batch> Assemble(const Draft& draft, at::ScalarType dtype, at::Device device) {
  std::vector<absl::Status> statuses(draft.groups());
  at::parallel_for(0, draft.groups(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) statuses[group] = draft.WriteGroup(group);
  });
  for (const absl::Status& status : statuses) PRUNELAB_RETURN_IF_ERROR(status);
  return OnDevice(draft.batch, dtype, device);
}

}  // namespace

// The batches of an epoch, or of an evaluation, that threads are writing ahead.
class BatchQueue {
 public:
  // For images of a source as many threads as LibTorch has, and as many batches ahead as its memory allows. For images
  // in memory one of each.
  BatchQueue(const LabelledImages& data, int64_t batch_size, at::ScalarType dtype)
      : threads_(data.source != nullptr ? at::get_num_threads() : 1) {
    constexpr int64_t kMostAhead = 4;
    if (data.source == nullptr) return;
    const auto [channels, height, width] = ShapeOf(data);
    const int64_t bytes = batch_size * channels * height * width * (dtype == at::kDouble ? 8 : 4);
    most_ahead_ = std::clamp<int64_t>(data.source->bytes_ahead() / std::max<int64_t>(1, bytes), 1, kMostAhead);
  }

  // Batch `index`, where `draft` makes any of `count`, of the epoch `epoch`; afterwards the following ones are being
  // written.
  absl::StatusOr<Batch> Get(int64_t epoch, int64_t index, int64_t count,
                            const std::function<std::shared_ptr<Draft>(int64_t)>& draft, at::ScalarType dtype,
                            at::Device device) {
    if (epoch_ != epoch || pending_.empty() || pending_.front().index != index) {
      ahead_.Clear();
      pending_.clear();
      epoch_ = epoch;
      Start(index, draft);
    }
    const Pending first = std::move(pending_.front());
    pending_.pop_front();
    int64_t next = pending_.empty() ? index + 1 : pending_.back().index + 1;
    for (; next < count && static_cast<int64_t>(pending_.size()) < most_ahead_; ++next) Start(next, draft);
    PRUNELAB_RETURN_IF_ERROR(ahead_.Finish(*first.task));
    return OnDevice(first.draft->batch, dtype, device);
  }

 private:
  struct Pending {
    int64_t index;
    std::shared_ptr<Draft> draft;
    std::shared_ptr<ReadAhead::Task> task;
  };

  void Start(int64_t index, const std::function<std::shared_ptr<Draft>(int64_t)>& draft) {
    Pending pending;
    pending.index = index;
    pending.draft = draft(index);
    pending.task = ahead_.Start(pending.draft->groups(),
                                [draft = pending.draft](int64_t group) { return draft->WriteGroup(group); });
    pending_.push_back(std::move(pending));
  }

  const int64_t threads_;
  int64_t most_ahead_ = 1;
  int64_t epoch_ = -1;
  std::deque<Pending> pending_;
  ReadAhead ahead_{threads_};
};

TrainingBatches::TrainingBatches(const LabelledImages& data, const Normalization& normalization,
                                 Augmentation augmentation, int64_t batch_size, uint64_t seed, at::ScalarType dtype,
                                 at::Device device, bool ahead, Share share)
    : data_(data),
      normalization_(normalization),
      augmentation_(augmentation),
      batch_size_(batch_size),
      seed_(seed),
      dtype_(dtype),
      device_(device),
      share_(share) {
  Check(data, normalization, dtype);
  PRUNELAB_CHECK(data.size() >= 1) << "no data";
  PRUNELAB_CHECK(batch_size >= 1) << "batch size " << batch_size;
  PRUNELAB_CHECK(augmentation.random_crop_padding >= 0) << "padding " << augmentation.random_crop_padding;
  PRUNELAB_CHECK(!augmentation.resized_crop || augmentation.random_crop_padding == 0) << "two crops";
  PRUNELAB_CHECK(!augmentation.resized_crop || HasBytes(data)) << "images to crop are no bytes";
  PRUNELAB_CHECK(!augmentation.color_jitter.changes() || (HasBytes(data) && ShapeOf(data)[0] == 3))
      << "images are no colours";
  PRUNELAB_CHECK(images(batches_per_epoch() - 1) >= share.count) << "fewer images than shares";
  if (ahead || data.source != nullptr) queue_ = std::make_unique<BatchQueue>(data, share.Size(batch_size), dtype);
}

TrainingBatches::~TrainingBatches() = default;

int64_t TrainingBatches::batches_per_epoch() const { return (data_.size() + batch_size_ - 1) / batch_size_; }

absl::StatusOr<Batch> TrainingBatches::Get(int64_t epoch, int64_t index) {
  PRUNELAB_CHECK(epoch >= 0 && index >= 0 && index < batches_per_epoch()) << "batch " << index << " of epoch " << epoch;
  if (epoch != order_epoch_) {
    RandomStream stream(seed_, "shuffle", epoch);
    order_ = RandomPermutation(data_.size(), stream);
    order_epoch_ = epoch;
  }
  const auto draft = [&](int64_t which) {
    const int64_t first = which * batch_size_;
    const int64_t begin = first + share_.Begin(images(which)), end = first + share_.End(images(which));
    const int64_t padding = augmentation_.random_crop_padding;
    std::vector<Placement> placements;
    placements.reserve(end - begin);
    for (int64_t i = begin; i < end; ++i) {
      RandomStream stream(seed_, "augmentation", epoch, order_[i]);
      Placement place;
      place.image = order_[i];
      place.dy = static_cast<int64_t>(stream.Below(2 * padding + 1)) - padding;
      place.dx = static_cast<int64_t>(stream.Below(2 * padding + 1)) - padding;
      place.flip = stream.Below(2) == 1 && augmentation_.horizontal_flip;
      if (augmentation_.resized_crop) {
        place.crops = true;
        place.crop = *augmentation_.resized_crop;
        place.crop_numbers.emplace(seed_, "resized_crop", epoch, order_[i]);
      }
      if (augmentation_.color_jitter.changes()) {
        RandomStream colors(seed_, "color_jitter", epoch, order_[i]);
        place.colors = DrawColorChange(augmentation_.color_jitter, colors);
      }
      placements.push_back(std::move(place));
    }
    return std::make_shared<Draft>(data_, normalization_, std::move(placements), dtype_, device_);
  };
  if (queue_ == nullptr) return Assemble(*draft(index), dtype_, device_);
  return queue_->Get(epoch, index, batches_per_epoch(), draft, dtype_, device_);
}

namespace {

std::shared_ptr<Draft> DraftOf(const LabelledImages& data, const Normalization& normalization, int64_t begin,
                               int64_t end, at::ScalarType dtype, at::Device device) {
  std::vector<Placement> placements(end - begin);
  for (int64_t i = begin; i < end; ++i) placements[i - begin].image = i;
  return std::make_shared<Draft>(data, normalization, std::move(placements), dtype, device);
}

}  // namespace

EvaluationBatches::EvaluationBatches(const LabelledImages& data, const Normalization& normalization, int64_t count,
                                     int64_t batch_size, at::ScalarType dtype, at::Device device, Share share)
    : data_(data),
      normalization_(normalization),
      begin_(share.Begin(count)),
      end_(share.End(count)),
      batch_size_(batch_size),
      dtype_(dtype),
      device_(device) {
  Check(data, normalization, dtype);
  PRUNELAB_CHECK(count >= 0 && count <= data.size()) << count << " images of " << data.size();
  PRUNELAB_CHECK(batch_size >= 1) << "batch size " << batch_size;
  if (data.source != nullptr) queue_ = std::make_unique<BatchQueue>(data, batch_size, dtype);
}

EvaluationBatches::~EvaluationBatches() = default;

absl::StatusOr<Batch> EvaluationBatches::Get(int64_t index) {
  PRUNELAB_CHECK(index >= 0 && index < batches()) << "batch " << index << " of " << batches();
  const auto draft = [&](int64_t which) {
    const int64_t begin = begin_ + which * batch_size_;
    return DraftOf(data_, normalization_, begin, std::min(begin + batch_size_, end_), dtype_, device_);
  };
  if (queue_ == nullptr) return Assemble(*draft(index), dtype_, device_);
  return queue_->Get(0, index, batches(), draft, dtype_, device_);
}

absl::StatusOr<Batch> EvaluationBatch(const LabelledImages& data, const Normalization& normalization, int64_t begin,
                                      int64_t end, at::ScalarType dtype, at::Device device) {
  Check(data, normalization, dtype);
  PRUNELAB_CHECK(0 <= begin && begin <= end && end <= data.size())
      << "images " << begin << " to " << end << " of " << data.size();
  return Assemble(*DraftOf(data, normalization, begin, end, dtype, device), dtype, device);
}

absl::StatusOr<Batch> SelectedBatch(const LabelledImages& data, const Normalization& normalization,
                                    const std::vector<int64_t>& images, at::ScalarType dtype, at::Device device) {
  Check(data, normalization, dtype);
  std::vector<Placement> placements(images.size());
  for (size_t i = 0; i < images.size(); ++i) {
    PRUNELAB_CHECK(images[i] >= 0 && images[i] < data.size()) << "image " << images[i] << " of " << data.size();
    placements[i].image = images[i];
  }
  return Assemble(Draft(data, normalization, std::move(placements), dtype, device), dtype, device);
}

}  // namespace prunelab
