#include "ml/training/step_sum.h"

#include <ATen/ATen.h>

#include <vector>

#include "ml/base/check.h"

namespace prunelab {
namespace {

// `tensor` times `share`, in addition to what `sum` has, if it has anything.
void AddShare(const at::Tensor& tensor, double share, at::Tensor& sum) {
  if (!tensor.defined()) return;
  if (sum.defined()) {
    sum.add_(tensor, share);
  } else {
    sum = tensor * share;
  }
}

void AddShares(const std::vector<at::Tensor>& tensors, double share, std::vector<at::Tensor>& sums) {
  // A batch whose term depends on no parameter has none of its gradients.
  if (sums.size() < tensors.size()) sums.resize(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) AddShare(tensors[i], share, sums[i]);
}

void Put(const at::Tensor& sum, bool in_place, at::Tensor& tensor) {
  if (!sum.defined()) return;
  if (in_place) {
    tensor.copy_(sum);
  } else {
    tensor = sum;
  }
}

void Put(const std::vector<at::Tensor>& sums, bool in_place, std::vector<at::Tensor>& tensors) {
  PRUNELAB_CHECK(sums.size() >= tensors.size()) << sums.size() << " sums, " << tensors.size() << " tensors";
  tensors.resize(sums.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    // What is replayed writes to the same tensors every time.
    PRUNELAB_CHECK(!in_place || sums[i].defined() == tensors[i].defined()) << "other gradients, of parameter " << i;
    Put(sums[i], in_place, tensors[i]);
  }
}

}  // namespace

void StepSum::Add(const StepTensors& step, double share) {
  AddShares(step.gradients, share, sum_.gradients);
  AddShares(step.activations.gradients, share, sum_.activations.gradients);
  AddShare(step.activations.value, share, sum_.activations.value);
}

void StepSum::MoveInto(StepTensors& step, bool in_place) {
  Put(sum_.gradients, in_place, step.gradients);
  Put(sum_.activations.gradients, in_place, step.activations.gradients);
  Put(sum_.activations.value, in_place, step.activations.value);
  sum_ = StepTensors();
}

}  // namespace prunelab
