#include "ml/distributed/step_reduction.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <utility>

#include "ml/base/check.h"

namespace prunelab {
namespace {

// A bucket is as large as it may be before its sum would begin too late to overlap with anything: at most this many
// bytes, and at most a quarter of all, but not so small that the sum's latency counts.
constexpr int64_t kMostBytes = int64_t{25} << 20, kLeastBytes = int64_t{128} << 10;

}  // namespace

StepReduction::StepReduction(Ranks& ranks, std::vector<at::Tensor> parameters)
    : ranks_(ranks), parameters_(std::move(parameters)), places_(parameters_.size()) {
  int64_t all = 0;
  for (const at::Tensor& parameter : parameters_) all += static_cast<int64_t>(parameter.nbytes());
  const int64_t most = std::clamp(all / 4, kLeastBytes, kMostBytes);
  int64_t bytes = 0;  // in the last bucket
  for (size_t i = parameters_.size(); i-- > 0;) {
    const at::Tensor& parameter = parameters_[i];
    PRUNELAB_CHECK(parameter.scalar_type() == parameters_[0].scalar_type());
    PRUNELAB_CHECK(parameter.is_non_overlapping_and_dense()) << "strides " << parameter.strides();
    if (buckets_.empty() || bytes + static_cast<int64_t>(parameter.nbytes()) > most) {
      buckets_.emplace_back();
      bytes = 0;
    }
    Bucket& bucket = buckets_.back();
    places_[i] = {buckets_.size() - 1, bucket.numel};
    bucket.numel += parameter.numel();
    ++bucket.parameters;
    bytes += static_cast<int64_t>(parameter.nbytes());
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    hooks_.push_back(parameters_[i].register_hook([this, i](const at::Tensor& gradient) {
      if (!active_) return;
      Add(i, gradient);
      StartFull();
    }));
  }
}

StepReduction::~StepReduction() {
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].remove_hook(hooks_[i]);
}

void StepReduction::Begin() {
  active_ = true;
  filling_.clear();
  filling_.resize(buckets_.size());
  for (size_t b = 0; b < buckets_.size(); ++b) filling_[b].missing = buckets_[b].parameters;
  added_.assign(parameters_.size(), false);
  started_ = 0;
}

at::Tensor StepReduction::SlotOf(size_t parameter) const {
  const at::Tensor& like = parameters_[parameter];
  const Place& place = places_[parameter];
  // Laid out as the parameter, which is how the optimizer wants its gradient.
  return filling_[place.bucket].flat.as_strided(like.sizes(), like.strides(), place.offset);
}

void StepReduction::Add(size_t parameter, const at::Tensor& gradient) {
  const at::NoGradGuard no_gradients;
  PRUNELAB_CHECK(!added_[parameter]) << "two gradients of parameter " << parameter;
  added_[parameter] = true;
  Filling& filling = filling_[places_[parameter].bucket];
  if (!filling.flat.defined()) {
    filling.flat = at::zeros({buckets_[places_[parameter].bucket].numel}, parameters_[0].options());
  }
  if (gradient.defined()) SlotOf(parameter).copy_(gradient.detach());
  --filling.missing;
}

void StepReduction::StartFull() {
  for (; started_ < buckets_.size() && filling_[started_].missing == 0; ++started_) {
    filling_[started_].sum = ranks_.StartSum(filling_[started_].flat);
  }
}

void StepReduction::Finish(std::vector<at::Tensor>& gradients, const std::vector<Other>& others, bool in_place) {
  const at::NoGradGuard no_gradients;
  PRUNELAB_CHECK(gradients.size() == parameters_.size()) << gradients.size() << " gradients";
  if (!active_) Begin();
  active_ = false;
  begun_in_backward_ = started_;
  for (size_t i = parameters_.size(); i-- > 0;) {
    if (!added_[i]) Add(i, gradients[i]);
  }
  StartFull();
  at::Tensor rest;
  std::unique_ptr<Ranks::Pending> sum;
  if (!others.empty()) {
    std::vector<at::Tensor> parts;
    for (const Other& other : others) {
      parts.push_back(other.tensor.detach().flatten().to(parameters_[0].scalar_type()) * other.weight);
    }
    rest = at::cat(parts);
    sum = ranks_.StartSum(rest);
  }
  for (Filling& filling : filling_) filling.sum->Wait();
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!gradients[i].defined()) continue;
    if (in_place) {
      gradients[i].copy_(SlotOf(i));
    } else {
      gradients[i] = SlotOf(i);
    }
  }
  filling_.clear();
  if (others.empty()) return;
  sum->Wait();
  int64_t offset = 0;
  for (const Other& other : others) {
    const int64_t numel = other.tensor.numel();
    other.tensor.detach().copy_(rest.narrow(0, offset, numel).view(other.tensor.sizes()));
    offset += numel;
  }
}

}  // namespace prunelab
