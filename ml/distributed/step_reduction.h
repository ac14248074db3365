// The sums over ranks of what a training step computes on each rank's share of its images, while the backward pass goes
// on.
//
//   StepReduction reduction(ranks, parameters);
//   reduction.Begin();
//   gradients = torch::autograd::grad({loss}, parameters);  // each sum begins when its gradients are there
//   reduction.Finish(gradients, {{running_mean, share}, ...});  // in place
//
// Gradients are summed in buckets, which begin with the last parameters, whose gradients come first. Buckets and their
// order follow from the parameters alone, so a resumed training rounds as an undisturbed one does. On the wire a step
// is the gradients once around the ring: 2 (n - 1) / n of their bytes from each of n ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "ml/distributed/ranks.h"

namespace prunelab {

class StepReduction {
 public:
  // Of gradients of `parameters`, all of one type. `ranks` outlives this object, and the parameters' hooks are its own.
  StepReduction(Ranks& ranks, std::vector<at::Tensor> parameters);
  ~StepReduction();
  StepReduction(const StepReduction&) = delete;
  StepReduction& operator=(const StepReduction&) = delete;

  // What else is summed, in its place: `weight` times the tensor of each rank. It is on the parameters' device, and is
  // rounded to their type on the way.
  struct Other {
    at::Tensor tensor;
    double weight = 1;
  };

  // A backward pass for `parameters` follows. Without this, Finish begins the sums itself.
  void Begin();
  //   // Waits until the sums are in `gradients`, by parameter, and in `others`. Undefined gradients, which are
  //   undefined on all
  // ranks alike, stay so. The others are replaced by tensors laid out as their parameters, or, `in_place`, written
  // over.
  void Finish(std::vector<at::Tensor>& gradients, const std::vector<Other>& others, bool in_place = false);

  // How many sums of this or the last step the backward pass itself has begun.
  size_t begun_in_backward() const { return begun_in_backward_; }

 private:
  struct Bucket {
    int64_t numel = 0;
    size_t parameters = 0;
  };
  struct Place {
    size_t bucket = 0;
    int64_t offset = 0;
  };
  struct Filling {  // of a bucket in this step
    at::Tensor flat;
    size_t missing = 0;
    std::unique_ptr<Ranks::Pending> sum;
  };

  void Add(size_t parameter, const at::Tensor& gradient);
  void StartFull();
  at::Tensor SlotOf(size_t parameter) const;

  Ranks& ranks_;
  const std::vector<at::Tensor> parameters_;
  std::vector<Bucket> buckets_;
  std::vector<Place> places_;  // by parameter
  std::vector<unsigned> hooks_;
  // Of the step.
  bool active_ = false;  // between Begin and Finish
  std::vector<Filling> filling_;
  std::vector<bool> added_;  // by parameter
  size_t started_ = 0;       // buckets
  size_t begun_in_backward_ = 0;
};

}  // namespace prunelab
