#include "ml/training/step_capture.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

bool SameShape(const Batch& a, const Batch& b) {
  return a.images.sizes() == b.images.sizes() && a.labels.sizes() == b.labels.sizes();
}

// Whether masks `a` have those of `b` in the same shapes.
bool SameShapes(const std::map<std::string, at::Tensor>& a, const std::map<std::string, at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.sizes() == y.second.sizes();
  });
}

}  // namespace

StepCapture::StepCapture(std::unique_ptr<Recorder> recorder, Model& model, StepHalves halves,
                         std::function<void(const std::string&)> warn)
    : recorder_(std::move(recorder)), model_(model), halves_(std::move(halves)), warn_(std::move(warn)) {}

bool StepCapture::Fits(const Batch& batch, const StepKind& kind) const {
  return captured_->kind == kind && SameShape(captured_->batch, batch) && SameShapes(captured_->masks, model_.masks());
}

StepTensors* StepCapture::Differentiate(const Batch& batch, const StepKind& kind) {
  if (captured_ && !Fits(batch, kind)) {
    captured_.reset();
    warm_up_steps_ = 0;
  }
  if (!captured_ && !RunsAsItIs()) {
    const absl::Status captured = Capture(batch, kind);
    if (!captured.ok()) GiveUp(captured);
  }
  if (captured_) {
    CopyInputs(batch);
    captured_->differentiate->Replay();
    return &captured_->tensors;
  }
  warm_up_ = StepTensors();
  recorder_->Run([&] { halves_.differentiate(model_, batch, warm_up_); });
  return &warm_up_;
}

void StepCapture::Learn() {
  if (captured_) {
    captured_->learn->Replay();
    return;
  }
  recorder_->Run([this] { halves_.learn(model_, warm_up_); });
  warm_up_ = StepTensors();
  ++warm_up_steps_;
}

absl::Status StepCapture::Capture(const Batch& batch, const StepKind& kind) {
  CapturedStep& step = captured_.emplace(model_);
  step.masks = model_.masks();
  step.model.SetMasks(step.masks);
  step.kind = kind;
  step.batch = {at::empty_like(batch.images), at::empty_like(batch.labels)};
  PRUNELAB_ASSIGN_OR_RETURN(step.differentiate, recorder_->Record([this] {
    halves_.differentiate(captured_->model, captured_->batch, captured_->tensors);
  }));
  PRUNELAB_ASSIGN_OR_RETURN(step.learn,
                            recorder_->Record([this] { halves_.learn(captured_->model, captured_->tensors); }));
  return absl::OkStatus();
}

void StepCapture::GiveUp(const absl::Status& why) {
  captured_.reset();
  gave_up_ = true;
  if (!warn_) return;
  warn_(absl::StrCat("a training step ", why.message(),
                     "; the training goes on without CUDA graphs, which is slower "
                     "(training { cuda_graphs: false } says so from the start)"));
}

void StepCapture::CopyInputs(const Batch& batch) {
  for (const auto& [node, mask] : model_.masks()) {
    at::Tensor& last = captured_->masks.at(node);
    if (last.is_same(mask)) continue;
    captured_->model.masks().at(node).copy_(mask);
    last = mask;
  }
  captured_->batch.images.copy_(batch.images);
  captured_->batch.labels.copy_(batch.labels);
}

}  // namespace prunelab
