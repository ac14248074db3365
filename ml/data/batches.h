// Batches of a data set: order, augmentation and normalisation, all of them functions of (seed, epoch, sample) alone.
//
//   TrainingBatches batches(dataset.train, dataset.normalization, {/*random_crop_padding=*/4,
//   /*horizontal_flip=*/true},
//                           /*batch_size=*/128, seed, at::kFloat, at::kCPU);
//   for (int64_t i = 0; i < batches.batches_per_epoch(); ++i) Step(batches.Get(epoch, i));
//
// The order of epoch e is RandomPermutation(n, RandomStream(seed, "shuffle", e)). Sample i (its index in the data, not
// its place in the order) is augmented in epoch e by RandomStream(seed, "augmentation", e, i), which gives in this
// order, whatever is switched on: the crop's row Below(2 * padding + 1), its column likewise, and Below(2), 1 for a
// flip. The crop is taken first, then flipped. So a batch depends on no thread count and no batch before it, and
// nothing must be saved to resume.
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
      0;  // pixels of black (0 before normalisation) on each side; then a random crop of the size
  bool horizontal_flip = false;  // with probability 1/2
};

struct Batch {
  at::Tensor images;  // [B, C, H, W], normalised, channels_last, in the dtype and on the device asked for
  at::Tensor labels;  // [B] int64, on the same device
};

// The training batches of each epoch: shuffled, the last smaller one kept.
class TrainingBatches {
 public:
  // `data` and `normalization` must outlive this object. Checks: batch_size and data.size() at least 1, padding at
  // least 0, a floating `dtype`. `ahead`: a thread of its own assembles the batch that comes next in the epoch while
  // this one is trained on, as a GPU wants it; where the processor trains, its cores have enough to do.
  TrainingBatches(const LabelledImages& data, const Normalization& normalization, Augmentation augmentation,
                  int64_t batch_size, uint64_t seed, at::ScalarType dtype, at::Device device, bool ahead = false);
  TrainingBatches(const TrainingBatches&) = delete;  // a thread may be at work for it
  TrainingBatches& operator=(const TrainingBatches&) = delete;

  int64_t batches_per_epoch() const;
  // Batch `index` of `epoch`; deterministic, in any order.
  Batch Get(int64_t epoch, int64_t index);

 private:
  // Of the batch, on the host.
  Batch Assemble(int64_t epoch, int64_t index, const std::vector<int64_t>& order, bool parallel) const;

  const LabelledImages& data_;
  const Normalization& normalization_;
  Augmentation augmentation_;
  int64_t batch_size_;
  uint64_t seed_;
  at::ScalarType dtype_;
  at::Device device_;
  bool ahead_;
  int64_t order_epoch_ = -1;  // whose order `order_` is
  std::shared_ptr<const std::vector<int64_t>> order_;
  int64_t next_epoch_ = -1, next_index_ = -1;  // which batch `next_` is, where it is valid
  std::future<Batch> next_;
};

// Images [begin, end) in order, normalised, not augmented.
Batch EvaluationBatch(const LabelledImages& data, const Normalization& normalization, int64_t begin, int64_t end,
                      at::ScalarType dtype, at::Device device);

// The images named, in the order named, normalised, not augmented. Each in [0, data.size()) (checked).
Batch SelectedBatch(const LabelledImages& data, const Normalization& normalization, const std::vector<int64_t>& images,
                    at::ScalarType dtype, at::Device device);

}  // namespace prunelab
