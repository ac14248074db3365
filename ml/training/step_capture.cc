#include "ml/training/step_capture.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

// Whether tensors `a` have those of `b` in the same shapes.
bool SameShapes(const std::map<std::string, at::Tensor>& a, const std::map<std::string, at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.sizes() == y.second.sizes();
  });
}

bool SameShapes(const StepInputs& a, const StepInputs& b) {
  return a.batch.images.sizes() == b.batch.images.sizes() && a.batch.labels.sizes() == b.batch.labels.sizes() &&
         SameShapes(a.kept, b.kept) && a.all_images == b.all_images;
}

// Memory for others of the same shapes.
StepInputs EmptyLike(const StepInputs& inputs) {
  StepInputs empty = {
      {at::empty_like(inputs.batch.images), at::empty_like(inputs.batch.labels)}, {}, inputs.all_images};
  for (const auto& [node, kept] : inputs.kept) empty.kept[node] = at::empty_like(kept);
  return empty;
}

}  // namespace

StepCapture::StepCapture(std::unique_ptr<Recorder> recorder, Model& model, StepHalves halves,
                         std::function<void(const std::string&)> warn)
    : recorder_(std::move(recorder)), model_(model), halves_(std::move(halves)), warn_(std::move(warn)) {}

bool StepCapture::Fits(const StepInputs& inputs, const StepKind& kind) const {
  return captured_->kind == kind && SameShapes(captured_->inputs, inputs) &&
         SameShapes(captured_->masks, model_.masks());
}

StepTensors* StepCapture::Differentiate(const StepInputs& inputs, const StepKind& kind) {
  if (captured_ && !Fits(inputs, kind)) {
    captured_.reset();
    warm_up_steps_ = 0;
  }
  if (!captured_ && !RunsAsItIs()) {
    const absl::Status captured = Capture(inputs, kind);
    if (!captured.ok()) GiveUp(captured);
  }
  if (captured_) {
    CopyInputs(inputs);
    captured_->differentiate->Replay();
    return &captured_->tensors;
  }
  warm_up_ = StepTensors();
  recorder_->Run([&] { halves_.differentiate(model_, inputs, warm_up_); });
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

absl::Status StepCapture::Capture(const StepInputs& inputs, const StepKind& kind) {
  CapturedStep& step = captured_.emplace(model_);
  step.masks = model_.masks();
  step.model.SetMasks(step.masks);
  step.kind = kind;
  step.inputs = EmptyLike(inputs);
  PRUNELAB_ASSIGN_OR_RETURN(step.differentiate, recorder_->Record([this] {
    halves_.differentiate(captured_->model, captured_->inputs, captured_->tensors);
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

void StepCapture::CopyInputs(const StepInputs& inputs) {
  for (const auto& [node, mask] : model_.masks()) {
    at::Tensor& last = captured_->masks.at(node);
    if (last.is_same(mask)) continue;
    captured_->model.masks().at(node).copy_(mask);
    last = mask;
  }
  captured_->inputs.batch.images.copy_(inputs.batch.images);
  captured_->inputs.batch.labels.copy_(inputs.batch.labels);
  for (const auto& [node, kept] : inputs.kept) captured_->inputs.kept.at(node).copy_(kept);
}

}  // namespace prunelab
