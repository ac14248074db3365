// What becomes of filters over an epoch (metrics.proto: live_filter_norm and those after it), for runs that ask for it:
// `training { filter_measures: true }`.
//
//   FilterMeasures measures(model);                       // before the first step
//   measures.CountChanges(before, model.masks(), step);   // after each update of the masks
//   measures.EndEpoch(model, steps_done, record.measures);
//
// All tensors are on the model's device; only EndEpoch waits for it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "ml/execution/model.h"
#include "ml/training/metrics.pb.h"

namespace prunelab {

class FilterMeasures {
 public:
  // An epoch begins with the model as it is.
  explicit FilterMeasures(const Model& model);

  // What an update before step `step` (from 0) made of the masks `before`, by convolution. A filter is on if any of its
  // weights is.
  void CountChanges(const std::map<std::string, at::Tensor>& before, const std::map<std::string, at::Tensor>& after,
                    int64_t step);

  // Sets the measures of the epoch that ends after `steps` steps of training; the next begins.
  void EndEpoch(const Model& model, int64_t steps, Measures& measures);

  // By convolution: the weights at the start of the epoch, and for each filter the step of its mask's last change,
  // int64 [out]. They are what must be kept across a restart.
  const std::map<std::string, at::Tensor>& start() const { return start_; }
  const std::map<std::string, at::Tensor>& changed() const { return changed_; }
  void Set(std::map<std::string, at::Tensor> start, std::map<std::string, at::Tensor> changed);

 private:
  void StartEpoch(const Model& model);

  std::map<std::string, at::Tensor> start_, changed_;
};

}  // namespace prunelab
