#include "ml/data/batches.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/random.h"

namespace prunelab {
namespace {

// Each label is its image's index, so that a batch tells which samples are in it.
LabelledImages Numbered(at::ScalarType dtype, at::IntArrayRef shape) {
  const at::Tensor flat = (at::arange(c10::multiply_integers(shape), at::kLong) * 37 + 11).remainder(256);
  return {flat.view(shape).to(dtype), at::arange(shape[0], at::kLong)};
}

Normalization ForChannels(int64_t channels) {
  Normalization normalization;
  for (int64_t c = 0; c < channels; ++c) {
    normalization.mean.push_back(0.4 + 0.05 * c);
    normalization.stddev.push_back(0.2 + 0.01 * c);
  }
  return normalization;
}

// The same by LibTorch's operators, in float64.
at::Tensor Normalised(const at::Tensor& images, const Normalization& normalization) {
  const int64_t channels = images.size(1);
  const at::Tensor mean = at::tensor(normalization.mean, at::kDouble).view({1, channels, 1, 1});
  const at::Tensor stddev = at::tensor(normalization.stddev, at::kDouble).view({1, channels, 1, 1});
  return (images.to(at::kDouble) * normalization.scale - mean) / stddev;
}

at::Tensor Augmented(const at::Tensor& image, const Augmentation& augmentation, RandomStream stream) {
  const int64_t p = augmentation.random_crop_padding, height = image.size(1), width = image.size(2);
  const int64_t row = static_cast<int64_t>(stream.Below(2 * p + 1));
  const int64_t column = static_cast<int64_t>(stream.Below(2 * p + 1));
  const bool flip = stream.Below(2) == 1;
  const at::Tensor crop = at::constant_pad_nd(image, {p, p, p, p}, 0).narrow(1, row, height).narrow(2, column, width);
  return augmentation.horizontal_flip && flip ? crop.flip({2}) : crop;
}

void ExpectEpochEqualsPlainVersion(at::ScalarType source, at::ScalarType dtype, int64_t channels, int64_t padding,
                                   bool flip) {
  SCOPED_TRACE(testing::Message() << source << " " << dtype << " channels " << channels << " padding " << padding
                                  << " flip " << flip);
  const LabelledImages data = Numbered(source, {23, channels, 5, 7});
  const Normalization normalization = ForChannels(channels);
  const Augmentation augmentation = {padding, flip};
  TrainingBatches batches(data, normalization, augmentation, 10, 99, dtype, at::kCPU);
  ASSERT_EQ(batches.batches_per_epoch(), 3);
  RandomStream shuffle(99, "shuffle", 4);
  const std::vector<int64_t> order = RandomPermutation(23, shuffle);
  for (int64_t index = 0; index < 3; ++index) {
    const Batch batch = *batches.Get(4, index);
    const int64_t size = index == 2 ? 3 : 10;
    ASSERT_EQ(batch.images.sizes(), at::IntArrayRef({size, channels, 5, 7}));
    EXPECT_TRUE(batch.images.is_contiguous(at::MemoryFormat::ChannelsLast));
    EXPECT_EQ(batch.images.scalar_type(), dtype);
    EXPECT_EQ(batch.labels.scalar_type(), at::kLong);
    std::vector<at::Tensor> images;
    for (int64_t i = 0; i < size; ++i) {
      const int64_t sample = order[index * 10 + i];
      EXPECT_EQ(batch.labels[i].item<int64_t>(), sample);
      images.push_back(Augmented(data.images[sample], augmentation, RandomStream(99, "augmentation", 4, sample)));
    }
    const at::Tensor expected = Normalised(at::stack(images), normalization).to(dtype);
    EXPECT_TRUE(at::allclose(batch.images, expected, 1e-7, dtype == at::kDouble ? 1e-14 : 1e-6));
  }
}

TEST(TrainingBatchesTest, EqualsPlainVersion) {
  for (const at::ScalarType source : {at::kByte, at::kFloat}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      for (const int64_t channels : {1, 2, 3}) {
        for (const int64_t padding : {0, 2, 9}) {  // 9 is wider than the image: some crops are all black
          for (const bool flip : {false, true}) ExpectEpochEqualsPlainVersion(source, dtype, channels, padding, flip);
        }
      }
    }
  }
}

TEST(TrainingBatchesTest, BatchesAssembledAheadAreTheSame) {
  const LabelledImages data = {at::arange(43 * 3 * 5 * 7, at::kLong).remainder(251).to(at::kByte).view({43, 3, 5, 7}),
                               at::arange(43, at::kLong)};
  Normalization normalization;
  normalization.mean = normalization.stddev = {0.25, 0.5, 0.75};
  TrainingBatches plain(data, normalization, {2, true}, 10, 5, at::kFloat, at::kCPU);
  TrainingBatches ahead(data, normalization, {2, true}, 10, 5, at::kFloat, at::kCPU, /*ahead=*/true);
  // In order, past the end of an epoch, back, the same batch again, and a far later one.
  const std::pair<int64_t, int64_t> places[] = {{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {1, 0}, {1, 1},
                                                {0, 2}, {0, 3}, {0, 3}, {7, 4}, {7, 0}, {7, 1}, {8, 2}};
  for (const auto& [epoch, index] : places) {
    const Batch expected = *plain.Get(epoch, index), ours = *ahead.Get(epoch, index);
    EXPECT_TRUE(at::equal(ours.images, expected.images)) << epoch << ", " << index;
    EXPECT_TRUE(at::equal(ours.labels, expected.labels)) << epoch << ", " << index;
    EXPECT_TRUE(ours.images.is_contiguous(at::MemoryFormat::ChannelsLast));
  }
}

// The shares of several processes, put together again, are the whole: of each batch, and of an evaluation's images.
TEST(BatchesTest, SharesTogetherAreTheWhole) {
  const LabelledImages data = {at::arange(43 * 3 * 5 * 7, at::kLong).remainder(251).to(at::kByte).view({43, 3, 5, 7}),
                               at::arange(43, at::kLong)};
  Normalization normalization;
  normalization.mean = normalization.stddev = {0.25, 0.5, 0.75};
  for (const int64_t count : {1, 2, 3}) {
    for (const bool ahead : {false, true}) {
      TrainingBatches whole(data, normalization, {2, true}, 10, 5, at::kFloat, at::kCPU);
      std::vector<std::unique_ptr<TrainingBatches>> shares;
      for (int64_t i = 0; i < count; ++i) {
        shares.push_back(std::make_unique<TrainingBatches>(data, normalization, Augmentation{2, true}, 10, 5,
                                                           at::kFloat, at::kCPU, ahead, Share{i, count}));
      }
      for (const auto& [epoch, index] : {std::pair<int64_t, int64_t>(0, 0), {0, 1}, {3, 3}, {3, 4}}) {
        std::vector<at::Tensor> images, labels;
        for (const auto& share : shares) {
          const Batch part = *share->Get(epoch, index);
          images.push_back(part.images);
          labels.push_back(part.labels);
        }
        const Batch expected = *whole.Get(epoch, index);
        EXPECT_EQ(whole.images(index), expected.labels.size(0));
        EXPECT_TRUE(at::equal(at::cat(images), expected.images)) << count << ", " << epoch << ", " << index;
        EXPECT_TRUE(at::equal(at::cat(labels), expected.labels));
      }
    }
    std::vector<at::Tensor> images, labels;
    for (int64_t i = 0; i < count; ++i) {
      EvaluationBatches share(data, normalization, 41, 4, at::kFloat, at::kCPU, Share{i, count});
      for (int64_t k = 0; k < share.batches(); ++k) {
        const Batch batch = *share.Get(k);
        EXPECT_LE(batch.labels.size(0), 4);
        images.push_back(batch.images);
        labels.push_back(batch.labels);
      }
    }
    const Batch expected = *EvaluationBatch(data, normalization, 0, 41, at::kFloat, at::kCPU);
    EXPECT_TRUE(at::equal(at::cat(images), expected.images)) << count;
    EXPECT_TRUE(at::equal(at::cat(labels), expected.labels)) << count;
  }
}

TEST(TrainingBatchesTest, PaddingIsBlackBeforeNormalisation) {
  const LabelledImages data = {at::full({50, 1, 4, 4}, 255, at::kByte), at::zeros({50}, at::kLong)};
  Normalization normalization;
  normalization.mean = normalization.stddev = {0.5};
  TrainingBatches batches(data, normalization, {2, false}, 50, 1, at::kFloat, at::kCPU);
  const at::Tensor images = batches.Get(0, 0)->images;
  EXPECT_TRUE(((images == -1) | (images == 1)).all().item<bool>());
  EXPECT_TRUE((images == -1).any().item<bool>());
}

TEST(TrainingBatchesTest, CropsAndFlipsAreUniform) {
  const LabelledImages data = {at::arange(9, at::kByte).view({1, 1, 3, 3}).repeat({4000, 1, 1, 1}) + 1,
                               at::zeros({4000}, at::kLong)};
  Normalization normalization;
  normalization.scale = 1;
  normalization.mean = {0};
  normalization.stddev = {1};
  TrainingBatches crops(data, normalization, {1, false}, 4000, 1, at::kFloat, at::kCPU);
  // The middle pixel is the source's at the crop's offset; all nine offsets are equally likely.
  const at::Tensor middle = crops.Get(0, 0)->images.select(2, 1).select(2, 1).flatten().to(at::kLong);
  const at::Tensor counts = at::bincount(middle, {}, 10).narrow(0, 1, 9).to(at::kDouble);
  EXPECT_GT(counts.min().item<double>(), 4000 / 9.0 - 100) << counts;
  EXPECT_LT(counts.max().item<double>(), 4000 / 9.0 + 100) << counts;

  TrainingBatches flips(data, normalization, {0, true}, 4000, 1, at::kFloat, at::kCPU);
  const at::Tensor corner = flips.Get(0, 0)->images.select(2, 0).select(2, 0).flatten();
  EXPECT_TRUE(((corner == 1) | (corner == 3)).all().item<bool>());
  EXPECT_NEAR((corner == 3).to(at::kDouble).mean().item<double>(), 0.5, 0.04);
}

// A flip is drawn from the same place of the stream whether crops are on or not.
TEST(TrainingBatchesTest, FlipsDoNotDependOnCropping) {
  const LabelledImages data = Numbered(at::kByte, {64, 1, 1, 9});
  Normalization normalization = ForChannels(1);
  TrainingBatches plain(data, normalization, {0, false}, 64, 5, at::kFloat, at::kCPU);
  TrainingBatches flipped(data, normalization, {0, true}, 64, 5, at::kFloat, at::kCPU);
  TrainingBatches cropped(data, normalization, {3, false}, 64, 5, at::kFloat, at::kCPU);
  TrainingBatches both(data, normalization, {3, true}, 64, 5, at::kFloat, at::kCPU);
  const at::Tensor a = plain.Get(2, 0)->images, b = flipped.Get(2, 0)->images;
  const at::Tensor c = cropped.Get(2, 0)->images, d = both.Get(2, 0)->images;
  int64_t flips = 0;
  for (int64_t i = 0; i < 64; ++i) {
    const bool flip = !at::equal(a[i], b[i]);
    flips += flip;
    EXPECT_TRUE(at::equal(flip ? c[i].flip({2}) : c[i], d[i])) << i;
  }
  EXPECT_GT(flips, 16);
  EXPECT_LT(flips, 48);
}

TEST(TrainingBatchesTest, EverySampleOnceAnEpochAndTheLastBatchIsSmaller) {
  const LabelledImages data = Numbered(at::kByte, {103, 1, 2, 2});
  const Normalization normalization = ForChannels(1);
  TrainingBatches batches(data, normalization, {}, 25, 1, at::kFloat, at::kCPU);
  ASSERT_EQ(batches.batches_per_epoch(), 5);
  std::multiset<int64_t> seen;
  for (int64_t index = 0; index < 5; ++index) {
    const at::Tensor labels = batches.Get(0, index)->labels;
    EXPECT_EQ(labels.size(0), index == 4 ? 3 : 25);
    for (int64_t i = 0; i < labels.size(0); ++i) seen.insert(labels[i].item<int64_t>());
  }
  ASSERT_EQ(seen.size(), 103u);
  for (int64_t i = 0; i < 103; ++i) EXPECT_EQ(seen.count(i), 1u) << i;
}

TEST(TrainingBatchesTest, BatchLargerThanTheDataIsOneSmallerBatch) {
  const LabelledImages data = Numbered(at::kByte, {3, 1, 2, 2});
  const Normalization normalization = ForChannels(1);
  TrainingBatches batches(data, normalization, {}, 25, 1, at::kFloat, at::kCPU);
  EXPECT_EQ(batches.batches_per_epoch(), 1);
  EXPECT_EQ(batches.Get(0, 0)->labels.size(0), 3);
}

TEST(TrainingBatchesTest, EpochsAndSeedsDifferAndRepeat) {
  const LabelledImages data = Numbered(at::kByte, {64, 3, 8, 8});
  const Normalization normalization = ForChannels(3);
  TrainingBatches first(data, normalization, {2, true}, 64, 1, at::kFloat, at::kCPU);
  TrainingBatches again(data, normalization, {2, true}, 64, 1, at::kFloat, at::kCPU);
  TrainingBatches other(data, normalization, {2, true}, 64, 2, at::kFloat, at::kCPU);
  const Batch batch = *first.Get(3, 0);
  EXPECT_FALSE(at::equal(first.Get(4, 0)->labels, batch.labels));
  EXPECT_FALSE(at::equal(other.Get(3, 0)->labels, batch.labels));
  // The order does not matter: epoch 3 after 4 is the same as epoch 3 first.
  EXPECT_TRUE(at::equal(first.Get(3, 0)->images, batch.images));
  EXPECT_TRUE(at::equal(again.Get(3, 0)->images, batch.images));
  EXPECT_TRUE(at::equal(again.Get(3, 0)->labels, batch.labels));
}

// What is done to a sample depends on the sample, not on its place in a batch.
TEST(TrainingBatchesTest, AugmentationDoesNotDependOnTheBatchSize) {
  const LabelledImages data = Numbered(at::kByte, {30, 1, 6, 6});
  const Normalization normalization = ForChannels(1);
  TrainingBatches whole(data, normalization, {2, true}, 30, 1, at::kFloat, at::kCPU);
  TrainingBatches parts(data, normalization, {2, true}, 7, 1, at::kFloat, at::kCPU);
  std::vector<at::Tensor> images;
  for (int64_t i = 0; i < parts.batches_per_epoch(); ++i) images.push_back(parts.Get(1, i)->images);
  EXPECT_TRUE(at::equal(at::cat(images), whole.Get(1, 0)->images));
}

TEST(TrainingBatchesTest, DoesNotDependOnTheThreads) {
  const LabelledImages data = Numbered(at::kByte, {257, 3, 32, 32});
  const Normalization normalization = ForChannels(3);
  TrainingBatches batches(data, normalization, {4, true}, 257, 1, at::kFloat, at::kCPU);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = batches.Get(0, 0)->images;
  at::set_num_threads(4);
  const at::Tensor four = batches.Get(0, 0)->images;
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one, four));
}

TEST(TrainingBatchesTest, NarrowTypesAreRoundedFromFloat) {
  const LabelledImages data = Numbered(at::kByte, {4, 3, 4, 4});
  const Normalization normalization = ForChannels(3);
  TrainingBatches narrow(data, normalization, {1, true}, 4, 1, at::kBFloat16, at::kCPU);
  TrainingBatches wide(data, normalization, {1, true}, 4, 1, at::kFloat, at::kCPU);
  const at::Tensor images = narrow.Get(0, 0)->images;
  EXPECT_TRUE(at::equal(images, wide.Get(0, 0)->images.to(at::kBFloat16)));
  EXPECT_TRUE(images.is_contiguous(at::MemoryFormat::ChannelsLast));
}

TEST(EvaluationBatchTest, InOrderAndNotAugmented) {
  for (const at::ScalarType source : {at::kByte, at::kFloat}) {
    const LabelledImages data = Numbered(source, {20, 3, 5, 6});
    const Normalization normalization = ForChannels(3);
    const Batch batch = *EvaluationBatch(data, normalization, 7, 19, at::kDouble, at::kCPU);
    EXPECT_TRUE(at::allclose(batch.images, Normalised(data.images.narrow(0, 7, 12), normalization), 0, 1e-14));
    EXPECT_TRUE(batch.images.is_contiguous(at::MemoryFormat::ChannelsLast));
    EXPECT_TRUE(at::equal(batch.labels, at::arange(7, 19, at::kLong)));
    EXPECT_EQ(EvaluationBatch(data, normalization, 5, 5, at::kFloat, at::kCPU)->images.size(0), 0);
  }
}

// Images of one size as a source, of which one may be unreadable.
class TensorSource : public ImageSource {
 public:
  explicit TensorSource(at::Tensor images) : images_(std::move(images)) {}
  int64_t size() const override { return images_.size(0); }
  std::array<int64_t, 3> shape() const override { return {images_.size(1), images_.size(2), images_.size(3)}; }
  absl::Status Read(int64_t image, uint8_t* out) const override {
    if (image == bad) return absl::AbortedError(absl::StrCat("image ", image, " is gone"));
    const at::Tensor pixels = images_[image].contiguous();
    std::copy_n(pixels.const_data_ptr<uint8_t>(), pixels.numel(), out);
    return absl::OkStatus();
  }
  bool has_whole_pictures() const override { return false; }
  absl::StatusOr<HeldPicture> ReadWhole(int64_t) const override { return absl::InternalError("has none"); }
  std::string DigestLine() const override { return "tensor"; }
  int64_t bytes_ahead() const override { return 100000; }
  int64_t bad = -1;

 private:
  const at::Tensor images_;
};

TEST(TrainingBatchesTest, ImagesOfASourceAreThoseInMemory) {
  const LabelledImages data = Numbered(at::kByte, {53, 3, 8, 9});
  const LabelledImages read = {at::Tensor(), data.labels, std::make_shared<TensorSource>(data.images)};
  const Normalization normalization = ForChannels(3);
  std::vector<Augmentation> augmentations(4);
  augmentations[1] = {2, true};
  augmentations[2].resized_crop.emplace();
  augmentations[3] = {1, true, std::nullopt, {0.5, 0.5, 0.5, 0.5}};
  for (const Augmentation& augmentation : augmentations) {
    TrainingBatches plain(data, normalization, augmentation, 10, 5, at::kFloat, at::kCPU);
    TrainingBatches ahead(read, normalization, augmentation, 10, 5, at::kFloat, at::kCPU);
    // In order, again from the start, another epoch, and backwards.
    const std::pair<int64_t, int64_t> order[] = {{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5},
                                                 {0, 0}, {1, 1}, {1, 2}, {3, 5}, {3, 4}, {3, 4}};
    for (const auto& [epoch, index] : order) {
      const Batch expected = *plain.Get(epoch, index), ours = *ahead.Get(epoch, index);
      EXPECT_TRUE(at::equal(ours.images, expected.images));
      EXPECT_TRUE(at::equal(ours.labels, expected.labels));
    }
  }
  EvaluationBatches plain(data, normalization, 31, 8, at::kDouble, at::kCPU);
  EvaluationBatches ahead(read, normalization, 31, 8, at::kDouble, at::kCPU);
  ASSERT_EQ(ahead.batches(), 4);
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(at::equal(ahead.Get(i)->images, plain.Get(i)->images));
    EXPECT_TRUE(at::equal(
        plain.Get(i)->images,
        EvaluationBatch(data, normalization, 8 * i, std::min<int64_t>(31, 8 * i + 8), at::kDouble, at::kCPU)->images));
  }
  EXPECT_TRUE(at::equal(SelectedBatch(read, normalization, {7, 50, 7}, at::kFloat, at::kCPU)->images,
                        SelectedBatch(data, normalization, {7, 50, 7}, at::kFloat, at::kCPU)->images));
}

TEST(TrainingBatchesTest, AnImageThatCannotBeReadIsItsBatchsError) {
  const LabelledImages data = Numbered(at::kByte, {30, 1, 4, 4});
  const auto source = std::make_shared<TensorSource>(data.images);
  const LabelledImages read = {at::Tensor(), data.labels, source};
  const Normalization normalization = ForChannels(1);
  TrainingBatches batches(read, normalization, {}, 10, 5, at::kFloat, at::kCPU);
  source->bad = (*batches.Get(0, 1)).labels[3].item<int64_t>();
  TrainingBatches again(read, normalization, {}, 10, 5, at::kFloat, at::kCPU);
  EXPECT_TRUE(again.Get(0, 0).ok());
  const absl::Status status = again.Get(0, 1).status();
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_EQ(status.message(), absl::StrCat("image ", source->bad, " is gone"));
  EXPECT_TRUE(again.Get(0, 2).ok());
  source->bad = -1;
  EXPECT_TRUE(again.Get(0, 1).ok());
}

TEST(TrainingBatchesTest, ColoursAreThoseOfThePaddedCrop) {
  const LabelledImages data = Numbered(at::kByte, {20, 3, 6, 7});
  const Normalization normalization = ForChannels(3);
  for (const int64_t padding : {1, 3, 9}) {
    const Augmentation augmentation = {padding, true, std::nullopt, {0, 0.9, 0, 0}};
    TrainingBatches batches(data, normalization, augmentation, 20, 8, at::kDouble, at::kCPU);
    const Batch batch = *batches.Get(1, 0);
    for (int64_t i = 0; i < 20; ++i) {
      const int64_t sample = batch.labels[i].item<int64_t>();
      const at::Tensor cropped =
          Augmented(data.images[sample], augmentation, RandomStream(8, "augmentation", 1, sample));
      const at::Tensor image = cropped.permute({1, 2, 0}).contiguous();
      RandomStream colors(8, "color_jitter", 1, sample);
      ChangeColors(DrawColorChange(augmentation.color_jitter, colors), 42, image.mutable_data_ptr<uint8_t>());
      const at::Tensor expected = Normalised(image.permute({2, 0, 1}).unsqueeze(0), normalization)[0];
      EXPECT_TRUE(at::allclose(batch.images[i], expected, 1e-12, 1e-12)) << padding << ", " << i;
    }
  }
}

// The same from the parts that picture_transforms_test holds to torchvision.
TEST(TrainingBatchesTest, CropsFlipsAndColoursFollowEachOther) {
  const LabelledImages data = Numbered(at::kByte, {20, 3, 12, 10});
  const Normalization normalization = ForChannels(3);
  Augmentation augmentation;
  augmentation.resized_crop = RandomResizedCrop{0.2, 0.9, 0.5, 2};
  augmentation.color_jitter = {0.4, 0.3, 0.2, 0.1};
  augmentation.horizontal_flip = true;
  TrainingBatches batches(data, normalization, augmentation, 20, 77, at::kDouble, at::kCPU);
  const Batch batch = *batches.Get(6, 0);
  int flipped = 0;
  for (int64_t i = 0; i < 20; ++i) {
    const int64_t sample = batch.labels[i].item<int64_t>();
    RandomStream crop(77, "resized_crop", 6, sample), colors(77, "color_jitter", 6, sample);
    RandomStream other(77, "augmentation", 6, sample);
    other.Below(1);
    other.Below(1);
    const bool flip = other.Below(2) == 1;
    const at::Tensor interleaved = data.images[sample].permute({1, 2, 0}).contiguous();
    const PixelView view = {interleaved.const_data_ptr<uint8_t>(), 12, 10, 3, 30};
    const at::Tensor out = at::empty({12, 10, 3}, at::kByte);
    ResizeBilinear(Cut(view, DrawCrop(*augmentation.resized_crop, 12, 10, crop)), 12, 10, {0, 0, 12, 10},
                   out.mutable_data_ptr<uint8_t>());
    ChangeColors(DrawColorChange(augmentation.color_jitter, colors), 120, out.mutable_data_ptr<uint8_t>());
    at::Tensor image = out.permute({2, 0, 1});
    if (flip) image = image.flip({2});
    EXPECT_TRUE(at::allclose(batch.images[i], Normalised(image.unsqueeze(0), normalization)[0], 1e-12, 1e-12)) << i;
    flipped += flip;
  }
  EXPECT_GT(flipped, 3);
  EXPECT_LT(flipped, 17);
}

}  // namespace
}  // namespace prunelab
