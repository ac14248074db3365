#include "ml/execution/model_probe.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "ml/base/check.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"
#include "ml/data/batches.h"
#include "ml/execution/plan.h"

namespace prunelab {

ModelProbe::ModelProbe(const Model& model, const LabelledImages* train, const Normalization* normalization,
                       uint64_t seed)
    : model_(model), train_(train), normalization_(normalization), seed_(seed) {
  PRUNELAB_CHECK((train == nullptr) == (normalization == nullptr));
}

absl::StatusOr<ProbeBatch> ModelProbe::TrainingImages(int64_t first, int64_t count) const {
  PRUNELAB_CHECK(first >= 0 && count >= 0) << count << " images from " << first;
  if (train_ == nullptr) {
    return absl::FailedPreconditionError("looks at training images; give it data");
  }
  RandomStream stream(seed_, "probe");
  const std::vector<int64_t> order = RandomPermutation(train_->size(), stream);
  const int64_t begin = std::min(first, train_->size());
  const int64_t end = begin + std::min(count, train_->size() - begin);
  PRUNELAB_ASSIGN_OR_RETURN(
      Batch batch, SelectedBatch(*train_, *normalization_, {order.begin() + begin, order.begin() + end}, model_.dtype(),
                                 model_.device()));
  return ProbeBatch{std::move(batch.images), std::move(batch.labels)};
}

ProbeResult ModelProbe::Forward(const ProbeRequest& request) const {
  const at::ScalarType dtype = request.images.scalar_type();
  std::map<std::string, at::Tensor> tensors;
  for (const NamedTensor& parameter : model_.parameters()) {
    tensors[parameter.name] = parameter.tensor.detach().to(dtype);
  }
  for (const NamedTensor& buffer : model_.buffers()) {
    // A copy, because batch norm by the batch's statistics writes to them.
    const at::ScalarType type = buffer.tensor.is_floating_point() ? dtype : buffer.tensor.scalar_type();
    tensors[buffer.name] = buffer.tensor.to(type, /*non_blocking=*/false, /*copy=*/true);
  }
  for (const auto& [name, tensor] : request.parameters) {
    PRUNELAB_CHECK(tensors.count(name)) << "no parameter \"" << name << "\"";
    tensors[name] = tensor.to(dtype);
  }
  Model model = model_.With(tensors);
  std::map<std::string, at::Tensor> masks = model_.masks();
  for (const auto& [node, mask] : request.masks) masks[node] = mask;
  model.SetMasks(masks);
  ForwardOptions options;
  options.mode = request.mode == ProbeMode::kEvaluation ? Mode::kEvaluate : Mode::kTrain;
  options.policy = GradientPolicy::kMasked;
  options.capture = request.capture;
  // Nothing is dropped in either mode: an answer depends on the arguments alone.
  ForwardResult result = ReferencePlan().Forward(model, request.images, options);
  return {std::move(result.logits), std::move(result.captured)};
}

}  // namespace prunelab
