#include "ml/training/trainer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/status_macros.h"
#include "ml/execution/model_liveness.h"
#include "ml/pruning/mask_measures.h"
#include "ml/regularizers/correlation.h"
#include "ml/training/schedule.h"

namespace prunelab {
namespace {

SgdOptions Options(const Training& config) {
  SgdOptions options;
  options.momentum = config.sgd().momentum();
  options.dampening = config.sgd().dampening();
  options.nesterov = config.sgd().nesterov();
  options.weight_decay = config.sgd().weight_decay();
  return options;
}

Augmentation AugmentationOf(const Training& config) {
  Augmentation augmentation;
  augmentation.random_crop_padding = config.random_crop_padding();
  augmentation.horizontal_flip = config.horizontal_flip();
  return augmentation;
}

Model InitializedModel(const TrainingSetup& setup) {
  Model model = Model::Create(setup.network, setup.dtype, setup.device);
  InitializeParameters(model, setup.seed);
  return model;
}

// Square of the norm, in float64, as a tensor: on a GPU nothing waits.
at::Tensor SquaredNorm(const at::Tensor& tensor) { return tensor.detach().to(at::kDouble).square().sum(); }

// Sums over an epoch's images, on the device.
struct EpochSums {
  at::Tensor loss, correct;
  int64_t images = 0;
  explicit EpochSums(at::Device device)
      : loss(at::zeros({}, at::TensorOptions(device).dtype(at::kDouble))),
        correct(at::zeros({}, at::TensorOptions(device).dtype(at::kLong))) {}
};

}  // namespace

Trainer::Trainer(TrainingSetup setup)
    : setup_(std::move(setup)),
      model_(InitializedModel(setup_)),
      batches_(setup_.dataset->train, setup_.dataset->normalization, AugmentationOf(setup_.config),
               setup_.config.batch_size(), setup_.seed, setup_.dtype, setup_.device),
      optimizer_(model_.parameters(), Options(setup_.config)) {
  std::map<std::string, int64_t> index;
  for (const NamedTensor& parameter : model_.parameters()) {
    index[parameter.name] = static_cast<int64_t>(parameters_.size());
    parameters_.push_back(parameter.tensor);
    start_[parameter.name] = parameter.tensor.detach().clone();
  }
  for (const NamedTensor& buffer : model_.buffers()) start_[buffer.name] = buffer.tensor.clone();
  for (const Node& node : model_.info().network().node()) {
    const auto weight = index.find(absl::StrCat(node.name(), ".weight"));
    if (weight == index.end()) continue;
    layer_parameter_.push_back(weight->second);
    if (node.op_case() == Node::kConv2D) {
      conv_weight_[node.name()] = weight->second;
      const at::Tensor& tensor = parameters_[weight->second];
      ones_[node.name()] = at::ones({tensor.size(0), 1, 1, 1}, tensor.options().requires_grad(false));
    }
  }
}

std::vector<PrunableLayer> Trainer::PrunableLayers() const {
  std::vector<PrunableLayer> layers;
  for (const ConvInfo& conv : model_.info().convs()) {
    PrunableLayer layer;
    layer.node = conv.node;
    layer.weight = parameters_[conv_weight_.at(conv.node)].detach();
    const auto mask = model_.masks().find(conv.node);
    layer.mask = mask != model_.masks().end() ? mask->second : ones_.at(conv.node);
    const auto gradient = last_gradients_.find(conv.node);
    if (gradient != last_gradients_.end()) layer.gradient = gradient->second;
    layers.push_back(std::move(layer));
  }
  return layers;
}

std::vector<RegularizedLayer> Trainer::RegularizedLayers() const {
  std::vector<RegularizedLayer> layers;
  for (const int64_t i : layer_parameter_) {
    const NamedTensor& parameter = model_.parameters()[i];
    RegularizedLayer layer;
    layer.node = parameter.node;
    layer.weight = parameter.tensor.detach();
    switch (model_.info().node(model_.info().Index(parameter.node)).op_case()) {
      case Node::kConv2D:
        layer.kind = RegularizedLayer::Kind::kConv;
        break;
      case Node::kLinear:
        layer.kind = RegularizedLayer::Kind::kLinear;
        break;
      default:
        layer.kind = RegularizedLayer::Kind::kBatchNorm;
    }
    const auto mask = model_.masks().find(parameter.node);
    if (mask != model_.masks().end()) layer.mask = mask->second;
    layers.push_back(std::move(layer));
  }
  return layers;
}

absl::Status Trainer::UpdateMasks(const StepPosition& position, EpochRecord& record) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<MaskUpdate> update,
                            setup_.strategy->Update(position, PrunableLayers()));
  if (!update) return absl::OkStatus();
  const std::map<std::string, at::Tensor> before = model_.masks();
  Apply(*update, before);
  const MaskChanges changes = CompareMasks(model_.info(), before, model_.masks());
  ++record.mask_updates;
  record.mask_changes += changes.changed;
  record.returned_filters += changes.returned;
  return absl::OkStatus();
}

void Trainer::Apply(const MaskUpdate& update, const std::map<std::string, at::Tensor>& before) {
  model_.SetMasks(update.masks);
  if (update.weights == MaskUpdate::Weights::kRewind) {
    for (const auto& [name, tensor] : start_) model_.Get(name).detach().copy_(tensor);
  }
  for (const auto& [node, unused] : update.masks) {
    const at::Tensor& mask = model_.masks().at(node);
    const auto old = before.find(node);
    const at::Tensor was = old != before.end() ? old->second : ones_.at(node);
    const at::Tensor grown = mask * (1 - was);  // on now, off before
    const int64_t index = conv_weight_.at(node);
    const at::Tensor weight = parameters_[index].detach();
    if (update.weights == MaskUpdate::Weights::kZeroMasked) weight.mul_(mask);
    if (update.weights == MaskUpdate::Weights::kZeroGrown) weight.mul_(1 - grown);
    if (optimizer_.momentum().empty()) continue;
    const at::Tensor& momentum = optimizer_.momentum()[index];
    if (update.momentum == MaskUpdate::Momentum::kZeroMasked) momentum.mul_(mask);
    if (update.momentum == MaskUpdate::Momentum::kZeroGrown) momentum.mul_(1 - grown);
  }
  for (const auto& [name, tensor] : update.new_weights) model_.Get(name).detach().copy_(tensor);
}

void Trainer::AddPenalty(std::vector<at::Tensor>& gradients, bool last_step, EpochRecord& record) const {
  const Penalty penalty = setup_.regularizer->ValueAndGradients(RegularizedLayers());
  PRUNELAB_CHECK(penalty.gradients.size() == layer_parameter_.size()) << penalty.gradients.size() << " gradients";
  if (last_step) {
    at::Tensor loss_square = at::zeros({}, at::TensorOptions(setup_.device).dtype(at::kDouble));
    at::Tensor penalty_square = at::zeros_like(loss_square);
    for (const at::Tensor& gradient : gradients) loss_square += SquaredNorm(gradient);
    for (const at::Tensor& gradient : penalty.gradients) {
      if (gradient.defined()) penalty_square += SquaredNorm(gradient);
    }
    record.penalty = penalty.value.defined() ? setup_.penalty_weight * penalty.value.item<double>() : 0;
    const double loss_norm = std::sqrt(loss_square.item<double>());
    const double penalty_norm = setup_.penalty_weight * std::sqrt(penalty_square.item<double>());
    record.penalty_gradient_ratio = penalty_norm == 0 ? 0 : penalty_norm / loss_norm;
  }
  if (setup_.penalty_weight == 0) return;
  for (size_t i = 0; i < layer_parameter_.size(); ++i) {
    if (!penalty.gradients[i].defined()) continue;
    at::Tensor& gradient = gradients[layer_parameter_[i]];
    gradient = at::add(gradient, penalty.gradients[i], setup_.penalty_weight);
  }
}

absl::StatusOr<EpochRecord> Trainer::RunEpoch(int64_t epoch) {
  EpochRecord record;
  record.epoch = epoch;
  EpochSums sums(setup_.device);
  const int64_t iterations = batches_.batches_per_epoch();
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    StepPosition position;
    position.epoch = epoch;
    position.iteration = iteration;
    position.iterations_per_epoch = iterations;
    position.epochs = setup_.config.epochs();
    const absl::Status updated = UpdateMasks(position, record);
    if (absl::IsDataLoss(updated)) {  // weights that are no longer finite: the step before lost them
      record.diverged = true;
      break;
    }
    PRUNELAB_RETURN_IF_ERROR(updated);

    const Batch batch = batches_.Get(epoch, iteration);
    ForwardOptions options;
    options.mode = Mode::kTrain;
    options.policy = setup_.strategy->gradient_policy();
    const at::Tensor logits = plan_.Forward(model_, batch.images, options).logits;
    const at::Tensor loss = at::cross_entropy_loss(logits, batch.labels);
    std::vector<at::Tensor> gradients = torch::autograd::grad({loss}, parameters_);

    const int64_t images = batch.labels.size(0);
    sums.images += images;
    sums.loss += loss.detach().to(at::kDouble) * images;
    sums.correct += (LabelRanks(logits.detach(), batch.labels) < 1).sum();
    // On the CPU a loss that is lost ends the epoch at once; on a GPU looking would wait for the device at every step.
    if (setup_.device.is_cpu() && !std::isfinite(loss.item<double>())) {
      record.diverged = true;
      break;
    }

    if (setup_.strategy->needs_gradients()) {
      for (const auto& [node, index] : conv_weight_) last_gradients_[node] = gradients[index].detach();
    }
    setup_.strategy->Observe(position, PrunableLayers());
    AddPenalty(gradients, iteration + 1 == iterations, record);
    record.learning_rate = LearningRate(setup_.config, epoch, iteration, iterations);
    optimizer_.Step(gradients, record.learning_rate);
    if (setup_.on_step) setup_.on_step({epoch, iteration, iterations, sums.images});
  }
  record.train_loss = sums.loss.item<double>() / static_cast<double>(sums.images);
  record.train_top1 = static_cast<double>(sums.correct.item<int64_t>()) / static_cast<double>(sums.images);
  if (!std::isfinite(record.train_loss)) record.diverged = true;
  if (!record.diverged) {
    const int64_t every = setup_.config.evaluate_every();
    if ((epoch + 1) % every == 0 || epoch + 1 == setup_.config.epochs()) {
      if (setup_.config.bn_recalibration_batches() > 0) RecalibrateBatchNorm(epoch);
      record.test = Evaluate(model_, plan_, setup_.dataset->test, setup_.dataset->normalization,
                             setup_.config.evaluation_batch_size());
    }
  }
  Measure(record);
  return record;
}

void Trainer::RecalibrateBatchNorm(int64_t epoch) {
  const at::NoGradGuard no_gradients;
  const int64_t count = std::min<int64_t>(setup_.config.bn_recalibration_batches(), batches_.batches_per_epoch());
  for (int64_t i = 0; i < count; ++i) {
    ForwardOptions options;
    options.mode = Mode::kTrain;
    options.batch_norm_momentum = 1.0 / static_cast<double>(i + 1);  // the plain mean over the batches
    plan_.Forward(model_, batches_.Get(epoch, i).images, options);
  }
}

void Trainer::Measure(EpochRecord& record) const {
  const MaskMeasures measures = MeasureMasks(model_.info(), model_.masks());
  record.filter_sparsity = measures.filter_sparsity;
  record.weight_sparsity = measures.weight_sparsity;
  record.paper_sparsity = measures.paper_sparsity;
  record.live_filters = measures.live_filters;
  record.mean_abs_rho = MeanAbsRho(RegularizedLayers());
  const Liveness liveness = AnalyzeLiveness(model_);
  record.live_parameters = liveness.live_parameters;
  record.live_macs = liveness.live_macs;
}

}  // namespace prunelab
