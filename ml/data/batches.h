// Batches of a data set. Order, augmentation and normalization are all functions of (seed, epoch, sample) alone.
//
//   TrainingBatches batches(dataset.train, dataset.normalization, {/*random_crop_padding=*/4,
//   /*horizontal_flip=*/true},
//                           /*batch_size=*/128, seed, at::kFloat, at::kCPU);
//   for (int64_t i = 0; i < batches.batches_per_epoch(); ++i) {
//     PRUNELAB_ASSIGN_OR_RETURN(const Batch batch, batches.Get(epoch, i));
//     Step(batch);
//   }
//
// The order of epoch e is RandomPermutation(n, RandomStream(seed, "shuffle", e)). Sample i (its index in the data, not
// its position in the order) is augmented in epoch e by RandomStream(seed, "augmentation", e, i). That stream gives, in
// this order and whatever is switched on: the crop's row Below(2 * padding + 1), its column likewise, and Below(2),
// where 1 means a flip. A random resized crop takes its numbers from RandomStream(seed, "resized_crop", e, i) instead
// of the crop's, and a change of colours from RandomStream(seed, "color_jitter", e, i). The crop comes first, then the
// flip, then the colours. So a batch does not depend on the number of threads or on earlier batches, and nothing has to
// be saved to resume.
//
// Several processes that train together (ml/distributed/ranks.h) each take a share of every batch: consecutive samples
// of it.
//
// Images of a source (LabelledImages::source) are read by threads some batches ahead. Errors are those of reading them
// (Aborted); images in memory give none.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/base/share.h"
#include "ml/data/dataset.h"
#include "ml/data/picture_transforms.h"
#include "ml/data/read_ahead.h"

namespace prunelab {

struct Augmentation {
  int64_t random_crop_padding =
      0;  // black pixels (0 before normalization) added on each side; then a random crop of the old size
  bool horizontal_flip = false;  // with probability 1/2
  // Instead of the crop above, of images that are bytes: a part of the whole picture, where there is one, else of the
  // image, scaled to the image's size.
  std::optional<RandomResizedCrop> resized_crop = std::nullopt;
  ColorJitter color_jitter = {};  // of images that are bytes in three channels
};

class BatchQueue;

struct Batch {
  at::Tensor images;  // [B, C, H, W], normalized, channels_last, with the requested dtype and device
  at::Tensor labels;  // [B] int64, on the same device
};

// The training batches of each epoch, shuffled. The last batch is kept even if it is smaller.
class TrainingBatches {
 public:
  // `data` and `normalization` must outlive this object. Checks: batch_size and data.size() are at least 1, padding is
  // at least 0, `dtype` is floating. With `ahead` a separate thread assembles the epoch's next batch while the current
  // one is trained on, of images in memory, too. That suits a GPU; if the CPU trains, its cores are busy anyway. Get
  // gives `share` of each batch, which has at least as many images as there are shares (checked).
  TrainingBatches(const LabelledImages& data, const Normalization& normalization, Augmentation augmentation,
                  int64_t batch_size, uint64_t seed, at::ScalarType dtype, at::Device device, bool ahead = false,
                  Share share = {});
  TrainingBatches(const TrainingBatches&) = delete;  // a thread may be using it
  TrainingBatches& operator=(const TrainingBatches&) = delete;

  ~TrainingBatches();

  int64_t batches_per_epoch() const;
  // The images of batch `index`, of all shares together.
  int64_t images(int64_t index) const { return std::min(batch_size_, data_.size() - index * batch_size_); }
  // Batch `index` of `epoch`; deterministic, in any order.
  absl::StatusOr<Batch> Get(int64_t epoch, int64_t index);

 private:
  const LabelledImages& data_;
  const Normalization& normalization_;
  Augmentation augmentation_;
  int64_t batch_size_;
  uint64_t seed_;
  at::ScalarType dtype_;
  at::Device device_;
  Share share_;
  int64_t order_epoch_ = -1;  // the epoch whose order is in `order_`
  std::vector<int64_t> order_;
  std::unique_ptr<BatchQueue> queue_;  // null: nothing is done ahead
};

// The images in order, in batches, normalized, not augmented; the last one may be smaller.
class EvaluationBatches {
 public:
  // As above; only the first `count` images, and of these only `share`, in batches of their own.
  EvaluationBatches(const LabelledImages& data, const Normalization& normalization, int64_t count, int64_t batch_size,
                    at::ScalarType dtype, at::Device device, Share share = {});
  EvaluationBatches(const EvaluationBatches&) = delete;
  EvaluationBatches& operator=(const EvaluationBatches&) = delete;
  ~EvaluationBatches();

  int64_t batches() const { return (end_ - begin_ + batch_size_ - 1) / batch_size_; }
  absl::StatusOr<Batch> Get(int64_t index);

 private:
  const LabelledImages& data_;
  const Normalization& normalization_;
  const int64_t begin_, end_, batch_size_;  // the images
  const at::ScalarType dtype_;
  const at::Device device_;
  std::unique_ptr<BatchQueue> queue_;
};

// Images [begin, end) in order, normalized, not augmented.
absl::StatusOr<Batch> EvaluationBatch(const LabelledImages& data, const Normalization& normalization, int64_t begin,
                                      int64_t end, at::ScalarType dtype, at::Device device);

// The given images, in the given order, normalized, not augmented. Each index must be in [0, data.size()) (checked).
absl::StatusOr<Batch> SelectedBatch(const LabelledImages& data, const Normalization& normalization,
                                    const std::vector<int64_t>& images, at::ScalarType dtype, at::Device device);

}  // namespace prunelab
