#include "ml/deep_compression/fine_tune.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/status_macros.h"
#include "ml/data/batches.h"
#include "ml/execution/plan.h"

namespace prunelab {
namespace {

// A layer whose codebook is trained.
struct TrainedLayer {
  std::string name;
  at::Tensor weight;    // the model's own
  at::Tensor indices;   // int32
  at::Tensor codebook;  // float64
  at::Tensor momentum;  // float64
};

void TakeStep(TrainedLayer& layer, const at::Tensor& gradient, const FineTuneOptions& options) {
  const at::NoGradGuard no_gradients;
  const at::Tensor of_values = CentroidGradients(gradient.to(at::kDouble), layer.indices, layer.codebook.numel());
  layer.momentum = options.momentum * layer.momentum + of_values;
  layer.codebook = layer.codebook - options.learning_rate * layer.momentum;
  layer.weight.detach().copy_(ValuesOf({layer.codebook.to(at::kFloat), layer.indices}));
}

}  // namespace

absl::StatusOr<std::vector<double>> FineTuneCodebooks(Model& model, const std::map<std::string, SharedWeights>& layers,
                                                      const LabelledImages& train, const Normalization& normalization,
                                                      const FineTuneOptions& options) {
  PRUNELAB_CHECK(model.dtype() == at::kFloat && model.device().is_cpu());
  std::vector<TrainedLayer> trained;
  std::vector<at::Tensor> weights;
  for (const auto& [name, shared] : layers) {
    const at::Tensor& weight = model.Get(name);
    PRUNELAB_CHECK(weight.sizes() == shared.indices.sizes()) << name;
    if (shared.codebook.numel() == 0) continue;  // all of its weights are zero
    const at::Tensor codebook = shared.codebook.to(at::kDouble);
    trained.push_back({name, weight, shared.indices, codebook, at::zeros_like(codebook)});
    weights.push_back(weight);
  }
  std::vector<double> losses;
  if (trained.empty()) return losses;
  TrainingBatches batches(train, normalization, {}, options.batch_size, options.seed, at::kFloat, at::kCPU);
  ReferencePlan plan;
  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    double sum = 0;
    for (int64_t index = 0; index < batches.batches_per_epoch(); ++index) {
      PRUNELAB_ASSIGN_OR_RETURN(const Batch batch, batches.Get(epoch, index));
      const at::Tensor logits = plan.Forward(model, batch.images, {}).logits;
      const at::Tensor loss = at::cross_entropy_loss(logits, batch.labels);
      const auto value = loss.item<double>();
      if (!std::isfinite(value)) {
        return absl::DataLossError(absl::StrCat("the loss is ", value, " in epoch ", epoch, " of fine-tuning, batch ",
                                                index, "; a lower learning rate than ", options.learning_rate,
                                                " may help"));
      }
      sum += value * static_cast<double>(batch.labels.size(0));
      // A layer that does not lead to the logits, such as one of another output, has no gradient.
      const std::vector<at::Tensor> gradients =
          torch::autograd::grad({loss}, weights, {}, std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
      for (size_t k = 0; k < trained.size(); ++k) {
        if (gradients[k].defined()) TakeStep(trained[k], gradients[k], options);
      }
    }
    losses.push_back(sum / static_cast<double>(train.size()));
  }
  return losses;
}

}  // namespace prunelab
