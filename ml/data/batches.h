// Batches of a data set. Order, augmentation and normalization are all functions of (seed, epoch, sample) alone.
//
//   TrainingBatches batches(dataset.train, dataset.normalization, {/*random_crop_padding=*/4,
//   /*horizontal_flip=*/true},
//                           /*batch_size=*/128, seed, at::kFloat, at::kCPU);
//   for (int64_t i = 0; i < batches.batches_per_epoch(); ++i) Step(batches.Get(epoch, i));
//
// The order of epoch e is RandomPermutation(n, RandomStream(seed, "shuffle", e)). Sample i (its index in the data, not
// its position in the order) is augmented in epoch e by RandomStream(seed, "augmentation", e, i). That stream gives, in
// this order and whatever is switched on: the crop's row Below(2 * padding + 1), its column likewise, and Below(2),
// where 1 means a flip. The crop comes first, then the flip. So a batch does not depend on the number of threads or on
// earlier batches, and nothing has to be saved to resume.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <future>
#include <memory>
#include <vector>

#include "ml/data/dataset.h"

namespace prunelab {

struct Augmentation {
  int64_t random_crop_padding =
      0;  // black pixels (0 before normalization) added on each side; then a random crop of the old size
  bool horizontal_flip = false;  // with probability 1/2
};

struct Batch {
  at::Tensor images;  // [B, C, H, W], normalized, channels_last, with the requested dtype and device
  at::Tensor labels;  // [B] int64, on the same device
};

// The training batches of each epoch, shuffled. The last batch is kept even if it is smaller.
class TrainingBatches {
 public:
  // `data` and `normalization` must outlive this object. Checks: batch_size and data.size() are at least 1, padding is
  // at least 0, `dtype` is floating. With `ahead` a separate thread assembles the epoch's next batch while the current
  // one is trained on. That suits a GPU; if the CPU trains, its cores are busy anyway.
  TrainingBatches(const LabelledImages& data, const Normalization& normalization, Augmentation augmentation,
                  int64_t batch_size, uint64_t seed, at::ScalarType dtype, at::Device device, bool ahead = false);
  TrainingBatches(const TrainingBatches&) = delete;  // a thread may be using it
  TrainingBatches& operator=(const TrainingBatches&) = delete;

  int64_t batches_per_epoch() const;
  // Batch `index` of `epoch`; deterministic, in any order.
  Batch Get(int64_t epoch, int64_t index);

 private:
  // Assembles the batch on the host.
  Batch Assemble(int64_t epoch, int64_t index, const std::vector<int64_t>& order, bool parallel) const;

  const LabelledImages& data_;
  const Normalization& normalization_;
  Augmentation augmentation_;
  int64_t batch_size_;
  uint64_t seed_;
  at::ScalarType dtype_;
  at::Device device_;
  bool ahead_;
  int64_t order_epoch_ = -1;  // the epoch whose order is in `order_`
  std::shared_ptr<const std::vector<int64_t>> order_;
  int64_t next_epoch_ = -1, next_index_ = -1;  // which batch `next_` is, if it is valid
  std::future<Batch> next_;
};

// Images [begin, end) in order, normalized, not augmented.
Batch EvaluationBatch(const LabelledImages& data, const Normalization& normalization, int64_t begin, int64_t end,
                      at::ScalarType dtype, at::Device device);

// The given images, in the given order, normalized, not augmented. Each index must be in [0, data.size()) (checked).
Batch SelectedBatch(const LabelledImages& data, const Normalization& normalization, const std::vector<int64_t>& images,
                    at::ScalarType dtype, at::Device device);

}  // namespace prunelab
