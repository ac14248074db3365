// What is measured of an epoch (metrics.proto): sums over its steps, and the network at its end.
//
//   EpochSums sums(device);
//   sums.AddBatch(loss, logits, labels);                     // each step; waits for nothing
//   sums.Into(record.measures);                              // at the end
//   if (LostTensor(model).empty()) MeasureNetwork(model, record.measures);
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "ml/execution/model.h"
#include "ml/training/evaluate.h"
#include "ml/training/metrics.pb.h"

namespace prunelab {

// Sums over an epoch, on the device, so that no step waits for it. Always the same tensors: captured steps
// (step_capture.h) add to them.
class EpochSums {
 public:
  explicit EpochSums(at::Device device);

  // Adds a batch with the mean loss `loss` and training's `logits` [N, classes]. May be captured, because images are
  // counted separately.
  void AddBatch(const at::Tensor& loss, const at::Tensor& logits, const at::Tensor& labels);
  void AddImages(int64_t images) { images_ += images; }
  // Adds the losses and the correct answers of `step`, which starts again from zero.
  void Take(EpochSums& step);
  // What an update made of the masks `before`.
  void AddMaskChanges(const Model& model, const std::map<std::string, at::Tensor>& before);

  int64_t images() const { return images_; }
  // Over images: [] float64 and [] int64.
  const at::Tensor& loss() const { return loss_; }
  const at::Tensor& correct() const { return correct_; }

  // Those of a saved state; reading them waits for a GPU.
  struct Values {
    double loss = 0;  // over images
    int64_t images = 0, correct = 0;
    int64_t mask_changes = 0, returned_filters = 0;
  };
  Values Get() const;
  void Set(const Values& values);

  // Sets the means and the counts, and starts again from zero.
  void Into(Measures& measures);

 private:
  at::Tensor loss_, correct_;  // over images
  at::Tensor mask_changes_;    // over updates: entries that changed, and of these that came back
  int64_t images_ = 0;
};

// The network's size and sparsity by its masks, what exact removal would leave of it, and how its filters correlate.
void MeasureNetwork(const Model& model, Measures& measures);

// What an evaluation after the epoch came to.
void SetTest(const Evaluation& evaluation, Measures& measures);
void SetValidation(const Evaluation& evaluation, Measures& measures);

// The first of the model's parameters and buffers that is not finite, as a message: "3 of 64 numbers of bn1.weight are
// not finite after the last step"; "" if all are finite. Synchronizes with a GPU.
std::string LostTensor(const Model& model);

}  // namespace prunelab
