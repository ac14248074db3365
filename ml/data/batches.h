// Batches of a data set: order, augmentation and normalisation, all of them functions of (seed, epoch, sample) alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/data/dataset.h"

namespace prunelab {

struct Augmentation {
  int64_t random_crop_padding = 0;  // pixels of black (0 before normalisation) on each side; then a random crop of the size
  bool horizontal_flip = false;     // with probability 1/2
};

struct Batch {
  at::Tensor images;  // [B, C, H, W], normalised, channels_last, in the dtype and on the device asked for
  at::Tensor labels;  // [B] int64
};

// The training batches of each epoch: shuffled, the last smaller one kept.
class TrainingBatches {
 public:
  // `data` and `normalization` must outlive this object.
  TrainingBatches(const LabelledImages& data, const Normalization& normalization, Augmentation augmentation,
                  int64_t batch_size, uint64_t seed, at::ScalarType dtype, at::Device device);

  int64_t batches_per_epoch() const;
  // Batch `index` of `epoch`; deterministic, in any order.
  Batch Get(int64_t epoch, int64_t index);

 private:
  const LabelledImages& data_;
  const Normalization& normalization_;
  Augmentation augmentation_;
  int64_t batch_size_;
  uint64_t seed_;
  at::ScalarType dtype_;
  at::Device device_;
  int64_t order_epoch_ = -1;
  std::vector<int64_t> order_;
};

// Images [begin, end) in order, normalised, not augmented.
Batch EvaluationBatch(const LabelledImages& data, const Normalization& normalization, int64_t begin, int64_t end,
                      at::ScalarType dtype, at::Device device);

}  // namespace prunelab
