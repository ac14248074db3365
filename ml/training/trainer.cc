#include "ml/training/trainer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compressed_model.h"
#include "ml/execution/bfloat16_plan.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/fused_plan.h"
#include "ml/execution/skipping_plan.h"
#include "ml/pruning/mask_measures.h"
#include "ml/regularizers/correlation.h"
#include "ml/training/precision.h"
#include "ml/training/schedule.h"
#include "ml/training/training_config.h"

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

// Steps, all alike, after which libraries have set themselves up for what is to be recorded, on its stream.
constexpr int64_t kWarmUpSteps = 3;

// In the types that the model has.
std::unique_ptr<Plan> PlanOf(const Training& config, at::Device device) {
  if (!config.skipping()) return std::make_unique<ReferencePlan>();
  if (device.is_cuda()) return std::make_unique<FusedPlan>();
  return std::make_unique<SkippingPlan>();
}

std::unique_ptr<Plan> StepPlanOf(const Training& config, at::Device device) {
  if (config.precision() == Training::BFLOAT16) return std::make_unique<Bfloat16Plan>();
  return PlanOf(config, device);
}

bool SameShape(const Batch& a, const Batch& b) {
  return a.images.sizes() == b.images.sizes() && a.labels.sizes() == b.labels.sizes();
}

// Whether masks `a` have those of `b` in the same shapes.
bool SameShapes(const std::map<std::string, at::Tensor>& a, const std::map<std::string, at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.sizes() == y.second.sizes();
  });
}

absl::StatusOr<ValidationSplit> SplitOf(const TrainingSetup& setup) {
  if (setup.config.validation_fraction() == 0) return ValidationSplit();
  return SplitOffValidation(setup.dataset->train, setup.dataset->info.classes, setup.config.validation_fraction(),
                            static_cast<uint64_t>(setup.config.validation_seed()));
}

// The first of the model's parameters and buffers that is not finite, for people; "" where all are. Waits for a GPU.
std::string LostTensor(const Model& model) {
  std::vector<at::Tensor> lost;  // whether each is, on the device
  std::vector<const NamedTensor*> tensors;
  for (const std::vector<NamedTensor>* named : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& entry : *named) {
      if (!entry.tensor.is_floating_point()) continue;
      tensors.push_back(&entry);
      lost.push_back(at::isfinite(entry.tensor.detach()).all().logical_not());
    }
  }
  if (lost.empty()) return "";
  const at::Tensor flags = at::stack(lost).cpu();
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!flags.const_data_ptr<bool>()[i]) continue;
    const at::Tensor& tensor = tensors[i]->tensor;
    return absl::StrCat(at::isfinite(tensor.detach()).logical_not().sum().item<int64_t>(), " of ", tensor.numel(),
                        " numbers of ", tensors[i]->name, " are not finite after the last step");
  }
  return "";
}

// Names in a saved state; no parameter's name has a "/".
constexpr char kMomentum[] = "momentum/", kGradient[] = "gradient/", kStrategy[] = "strategy/";
constexpr char kStartMask[] = "start_mask/";
constexpr char kSums[] = "training/sums";
constexpr char kTotalEpochsRead[] = "training/total_epochs_read", kNotRead[] = "no";

// Square of the norm, in float64, as a tensor: on a GPU nothing waits.
at::Tensor SquaredNorm(const at::Tensor& tensor) { return tensor.detach().to(at::kDouble).square().sum(); }

}  // namespace

std::string StepPlanName(const Training& config, at::Device device) {
  if (!config.skipping() || config.precision() == Training::BFLOAT16) return "reference";
  return device.is_cuda() ? "fused" : "skipping";
}

Trainer::EpochSums::EpochSums(at::Device device)
    : loss(at::zeros({}, at::TensorOptions(device).dtype(at::kDouble))),
      correct(at::zeros({}, at::TensorOptions(device).dtype(at::kLong))),
      mask_changes(at::zeros({2}, at::TensorOptions(device).dtype(at::kLong))) {}

void Trainer::EpochSums::Reset() {
  for (const at::Tensor* sum : {&loss, &correct, &mask_changes}) sum->zero_();
  images = 0;
}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(TrainingSetup setup) {
  PRUNELAB_RETURN_IF_ERROR(InField("training", CheckPrecision(setup.config, setup.device)));
  Model model = Model::Create(setup.network, setup.dtype, setup.device);
  if (setup.initial_weights) {
    PRUNELAB_RETURN_IF_ERROR(LoadIntoModel(*setup.initial_weights, setup.initial_weights_name, model));
    setup.initial_weights.reset();
  } else {
    InitializeParameters(model, setup.seed);
  }
  for (const std::optional<Safetensors>* state : {&setup.continued_from, &setup.rewind_to}) {
    if (*state) PRUNELAB_RETURN_IF_ERROR(CheckFits(**state, "the training before", model.info()));
  }
  absl::StatusOr<ValidationSplit> split = SplitOf(setup);
  if (!split.ok()) return InField("training", split.status());
  const int64_t images = setup.dataset->train.size() - split->validation.size();
  PRUNELAB_RETURN_IF_ERROR(InField("training", CheckLastBatch(setup.config, setup.network, images)));
  std::unique_ptr<Trainer> trainer =
      absl::WrapUnique(new Trainer(std::move(setup), *std::move(split), std::move(model)));
  // After the constructor has kept the run's start.
  if (std::optional<Safetensors>& state = trainer->setup_.continued_from) {
    PRUNELAB_RETURN_IF_ERROR(LoadIntoModel(*state, "the training before", trainer->model_));
    state.reset();
    trainer->start_masks_ = StartMasks(trainer->model_);
    trainer->start_masks_.LetReturn(*trainer->setup_.strategy);
  }
  return trainer;
}

Trainer::Trainer(TrainingSetup setup, ValidationSplit split, Model model)
    : setup_(std::move(setup)),
      split_(std::move(split)),
      model_(std::move(model)),
      start_masks_(model_),
      step_plan_(StepPlanOf(setup_.config, setup_.device)),
      plan_(PlanOf(setup_.config, setup_.device)),
      batches_(train(), setup_.dataset->normalization, AugmentationOf(setup_.config), setup_.config.batch_size(),
               setup_.seed, setup_.dtype, setup_.device, /*ahead=*/setup_.device.is_cuda()),
      optimizer_(model_.parameters(), Options(setup_.config)),
      sums_(setup_.device) {
  PRUNELAB_CHECK(!setup_.rewind_to || !setup_.rewind_to_start) << "two networks to rewind to";
  start_masks_.LetReturn(*setup_.strategy);
  if (setup_.device.is_cuda()) {
    // Runs repeat: no algorithm of which sums come in any order.
    at::globalContext().setDeterministicCuDNN(true);
    if (setup_.recorder == nullptr && setup_.config.cuda_graphs()) {
      setup_.recorder = MakeCudaGraphRecorder(setup_.device);
    }
  }
  if (setup_.strategy->needs_probe()) {
    probe_.emplace(model_, &train(), &setup_.dataset->normalization, setup_.seed);
    setup_.strategy->Attach(*probe_);
  }
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

std::vector<RegularizedLayer> Trainer::RegularizedLayers(const Model& model) const {
  std::vector<RegularizedLayer> layers;
  for (const int64_t i : layer_parameter_) {
    const NamedTensor& parameter = model.parameters()[i];
    RegularizedLayer layer;
    layer.node = parameter.node;
    layer.weight = parameter.tensor.detach();
    switch (model.info().node(model.info().Index(parameter.node)).op_case()) {
      case Node::kConv2D:
        layer.kind = RegularizedLayer::Kind::kConv;
        break;
      case Node::kLinear:
        layer.kind = RegularizedLayer::Kind::kLinear;
        break;
      default:
        layer.kind = RegularizedLayer::Kind::kBatchNorm;
    }
    const auto mask = model.masks().find(parameter.node);
    if (mask != model.masks().end()) layer.mask = mask->second;
    layers.push_back(std::move(layer));
  }
  return layers;
}

StepPosition Trainer::Position(int64_t back) const {
  StepPosition position;
  position.epoch = epoch_;
  position.iteration = iteration_ - back;
  position.iterations_per_epoch = batches_.batches_per_epoch();
  position.epochs = TotalEpochs(setup_.config.epochs(), &total_epochs_read_);
  return position;
}

absl::Status Trainer::UpdateMasks(const absl::StatusOr<std::optional<MaskUpdate>>& update, EpochRecord& record) {
  if (absl::IsDataLoss(update.status())) {  // weights that are no longer finite: the step before lost them
    record.diverged = true;
    record.divergence = std::string(update.status().message());
    return absl::OkStatus();
  }
  PRUNELAB_RETURN_IF_ERROR(update.status());
  if (*update) ApplyAndCount(**update, record);
  return absl::OkStatus();
}

void Trainer::Restore(const std::map<std::string, at::Tensor>& tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (model_.Has(name)) model_.Get(name).detach().copy_(tensor);  // no masks
  }
  start_masks_.Zero(model_);
}

void Trainer::ApplyAndCount(const MaskUpdate& update, EpochRecord& record) {
  const std::map<std::string, at::Tensor> before = model_.masks();
  Apply(update, before);
  ++record.mask_updates;
  if (!model_.masks().empty()) sums_.mask_changes += CountMaskChanges(model_.info(), before, model_.masks());
}

void Trainer::Apply(const MaskUpdate& update, const std::map<std::string, at::Tensor>& before) {
  model_.SetMasks(start_masks_.Intersect(update.masks));
  if (update.weights == MaskUpdate::Weights::kRewind) Restore(start_);
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
  if (!update.new_weights.empty()) start_masks_.Zero(model_);
}

std::vector<at::Tensor> Trainer::BackPropagate(const at::Tensor& loss, ActivationPenalty& activations,
                                               bool last_step) const {
  if (!activations.value.defined() || !activations.value.requires_grad()) {
    return torch::autograd::grad({loss}, parameters_);
  }
  if (!last_step && !setup_.strategy->needs_gradients()) {
    return torch::autograd::grad({at::add(loss, activations.value, setup_.penalty_weight)}, parameters_);
  }
  std::vector<at::Tensor> gradients =
      torch::autograd::grad({loss}, parameters_, /*grad_outputs=*/{}, /*retain_graph=*/true);
  activations.gradients =
      torch::autograd::grad({activations.value}, parameters_, /*grad_outputs=*/{}, /*retain_graph=*/false,
                            /*create_graph=*/false, /*allow_unused=*/true);
  return gradients;
}

void Trainer::AddPenalty(const Model& model, const ActivationPenalty& activations, std::vector<at::Tensor>& gradients,
                         bool last_step, EpochRecord& record) const {
  const Penalty penalty = setup_.regularizer->ValueAndGradients(RegularizedLayers(model));
  PRUNELAB_CHECK(penalty.gradients.size() == layer_parameter_.size()) << penalty.gradients.size() << " gradients";
  std::vector<at::Tensor> added = activations.gradients;  // by parameter
  added.resize(gradients.size());
  for (size_t i = 0; i < layer_parameter_.size(); ++i) {
    at::Tensor& sum = added[layer_parameter_[i]];
    if (penalty.gradients[i].defined()) sum = sum.defined() ? sum + penalty.gradients[i] : penalty.gradients[i];
  }
  if (last_step) {
    at::Tensor loss_square = at::zeros({}, at::TensorOptions(setup_.device).dtype(at::kDouble));
    at::Tensor penalty_square = at::zeros_like(loss_square);
    for (const at::Tensor& gradient : gradients) loss_square += SquaredNorm(gradient);
    for (const at::Tensor& gradient : added) {
      if (gradient.defined()) penalty_square += SquaredNorm(gradient);
    }
    double value = 0;
    for (const at::Tensor& part : {penalty.value, activations.value}) {
      if (part.defined()) value += part.item<double>();
    }
    record.penalty = setup_.penalty_weight * value;
    const double loss_norm = std::sqrt(loss_square.item<double>());
    const double penalty_norm = setup_.penalty_weight * std::sqrt(penalty_square.item<double>());
    record.penalty_gradient_ratio = penalty_norm == 0 ? 0 : penalty_norm / loss_norm;
  }
  if (setup_.penalty_weight == 0) return;
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (added[i].defined()) gradients[i] = at::add(gradients[i], added[i], setup_.penalty_weight);
  }
}

GradientPolicy Trainer::StepPolicy() const {
  // A strategy that asks for gradients gets the dense ones; what masked weights must not learn is taken out by Learn.
  return setup_.strategy->needs_gradients() ? GradientPolicy::kStraightThrough : setup_.strategy->gradient_policy();
}

void Trainer::Differentiate(Model& model, const Batch& batch, bool last_step, StepTensors& step) {
  ForwardOptions options;
  options.mode = Mode::kTrain;
  options.policy = StepPolicy();
  if (setup_.penalty_weight != 0) options.capture = setup_.regularizer->activation_nodes();
  const ForwardResult result = step_plan_->Forward(model, batch.images, options);
  executed_macs_ = result.executed_macs;
  const at::Tensor loss = at::cross_entropy_loss(result.logits, batch.labels);
  step.activations = ActivationPenalty();
  if (!options.capture.empty()) step.activations.value = setup_.regularizer->ActivationValue(result.captured);
  step.gradients = BackPropagate(loss, step.activations, last_step);
  // A graph that stayed would bind the parameters' gradients to the stream that it was made on.
  if (step.activations.value.defined()) step.activations.value = step.activations.value.detach();
  step.loss = loss.detach();
  sums_.loss += step.loss.to(at::kDouble) * batch.labels.size(0);
  sums_.correct += (LabelRanks(result.logits.detach(), batch.labels) < 1).sum();
}

void Trainer::Learn(const Model& model, bool last_step, StepTensors& step) {
  std::vector<at::Tensor> gradients = step.gradients;
  ActivationPenalty activations = step.activations;
  if (StepPolicy() != setup_.strategy->gradient_policy()) {
    for (const auto& [node, mask] : model.masks()) {
      const int64_t index = conv_weight_.at(node);
      gradients[index] = at::mul(gradients[index], mask);
      if (activations.gradients.empty() || !activations.gradients[index].defined()) continue;
      activations.gradients[index] = at::mul(activations.gradients[index], mask);
    }
  }
  AddPenalty(model, activations, gradients, last_step, record_);
  for (const auto& [node, mask] : start_masks_.masks()) {
    at::Tensor& gradient = gradients[conv_weight_.at(node)];
    gradient = at::mul(gradient, mask);
  }
  optimizer_.Step(gradients);
}

bool Trainer::RecordingFits(const Batch& batch) const {
  return recorded_ && recorded_->policy == setup_.strategy->gradient_policy() &&
         recorded_->needs_gradients == setup_.strategy->needs_gradients() && SameShape(recorded_->batch, batch) &&
         SameShapes(recorded_->masks, model_.masks());
}

absl::Status Trainer::Record(const Batch& batch) {
  RecordedStep& recorded = recorded_.emplace(model_);
  recorded.policy = setup_.strategy->gradient_policy();
  recorded.needs_gradients = setup_.strategy->needs_gradients();
  recorded.masks = model_.masks();
  recorded.model.SetMasks(recorded.masks);
  recorded.batch = {at::empty_like(batch.images), at::empty_like(batch.labels)};
  const auto record = [&](const std::function<void()>& half) {
    absl::StatusOr<std::unique_ptr<Recording>> recording = setup_.recorder->Record(half);
    if (recording.ok()) return recording;
    recorded_.reset();
    return absl::StatusOr<std::unique_ptr<Recording>>(absl::FailedPreconditionError(absl::StrCat(
        "a training step ", recording.status().message(), "; set training { cuda_graphs: false } to train without")));
  };
  PRUNELAB_ASSIGN_OR_RETURN(recorded.differentiate, record([this] {
                              Differentiate(recorded_->model, recorded_->batch, false, recorded_->tensors);
                            }));
  PRUNELAB_ASSIGN_OR_RETURN(recorded.learn, record([this] { Learn(recorded_->model, false, recorded_->tensors); }));
  return absl::OkStatus();
}

void Trainer::GiveRecording(const Batch& batch) {
  for (const auto& [node, mask] : model_.masks()) {
    at::Tensor& last = recorded_->masks.at(node);
    if (last.is_same(mask)) continue;
    recorded_->model.masks().at(node).copy_(mask);
    last = mask;
  }
  recorded_->batch.images.copy_(batch.images);
  recorded_->batch.labels.copy_(batch.labels);
}

absl::Status Trainer::Step() {
  const StepPosition position = Position();
  PRUNELAB_RETURN_IF_ERROR(UpdateMasks(setup_.strategy->Update(position, PrunableLayers()), record_));
  if (record_.diverged) return absl::OkStatus();
  if ((setup_.rewind_to || setup_.rewind_to_start) && position.step() == 0) {
    Restore(setup_.rewind_to ? setup_.rewind_to->tensors : start_);
  }

  const Batch batch = batches_.Get(setup_.first_epoch + epoch_, iteration_);
  const int64_t images = batch.labels.size(0);
  const bool last_step = iteration_ + 1 == position.iterations_per_epoch;
  const double learning_rate = LearningRate(setup_.config, epoch_, iteration_, position.iterations_per_epoch);
  optimizer_.set_learning_rate(learning_rate);

  // Recorded are the steps that are all alike: not an epoch's last, which is measured and may have fewer images.
  const bool alike = setup_.recorder != nullptr && !last_step && optimizer_.started();
  if (alike && recorded_ && !RecordingFits(batch)) {
    recorded_.reset();
    warm_up_steps_ = 0;
  }
  const bool replayed = alike && warm_up_steps_ == kWarmUpSteps;
  StepTensors tensors;
  if (replayed) {
    if (!recorded_) PRUNELAB_RETURN_IF_ERROR(Record(batch));
    GiveRecording(batch);
    recorded_->differentiate->Replay();
  } else {
    const auto differentiate = [&] { Differentiate(model_, batch, last_step, tensors); };
    alike ? setup_.recorder->Run(differentiate) : differentiate();
  }
  StepTensors& step = replayed ? recorded_->tensors : tensors;
  sums_.images += images;
  // On the CPU a loss that is lost ends the epoch at once; on a GPU looking would wait for the device at every step.
  if (setup_.device.is_cpu() && !std::isfinite(step.loss.item<double>())) {
    record_.diverged = true;
    record_.divergence = absl::StrCat("the training loss of step ", iteration_, " is not finite");
    return absl::OkStatus();
  }

  if (setup_.strategy->needs_gradients()) {
    for (const auto& [node, index] : conv_weight_) {
      // Laid out as the weight, so that sums over it round alike when it comes back from a saved state. What a
      // recording wrote, its next replay writes over.
      const at::Tensor gradient = step.gradients[index].detach(), weight = parameters_[index].detach();
      last_gradients_[node] = replayed ? at::empty_like(weight).copy_(gradient) : LaidOutAs(gradient, weight);
    }
  }
  setup_.strategy->Observe(position, PrunableLayers());
  if (replayed) {
    recorded_->learn->Replay();
  } else {
    const auto learn = [&] { Learn(model_, last_step, tensors); };
    alike ? setup_.recorder->Run(learn) : learn();
    warm_up_steps_ += alike;
  }
  record_.learning_rate = learning_rate;
  ++iteration_;
  return absl::OkStatus();
}

absl::StatusOr<EpochRecord> Trainer::RunEpoch() {
  const int64_t iterations = batches_.batches_per_epoch();
  record_.epoch = setup_.first_epoch + epoch_;
  while (iteration_ < iterations) {
    PRUNELAB_RETURN_IF_ERROR(Step());
    if (record_.diverged) break;
    if (setup_.on_step) setup_.on_step({record_.epoch, iteration_ - 1, iterations, sums_.images});
    if (setup_.stop && setup_.stop()) {
      return absl::CancelledError(absl::StrCat("stopped in epoch ", record_.epoch, " after ", iteration_, " of ",
                                               iterations, " steps, as was asked"));
    }
  }
  if (!record_.diverged) {
    PRUNELAB_RETURN_IF_ERROR(UpdateMasks(setup_.strategy->EndEpoch(Position(1), PrunableLayers()), record_));
  }
  EpochRecord record = std::exchange(record_, EpochRecord());
  record.train_loss = sums_.loss.item<double>() / static_cast<double>(sums_.images);
  record.train_top1 = static_cast<double>(sums_.correct.item<int64_t>()) / static_cast<double>(sums_.images);
  const at::Tensor mask_changes = sums_.mask_changes.cpu();
  record.mask_changes = mask_changes[0].item<int64_t>();
  record.returned_filters = mask_changes[1].item<int64_t>();
  sums_.Reset();
  if (!record.diverged && !std::isfinite(record.train_loss)) {
    record.diverged = true;
    record.divergence = "the training loss is not finite";
  }
  if (!record.diverged) EndRecord(record);
  Measure(record);
  ++epoch_;
  iteration_ = 0;
  return record;
}

void Trainer::EndRecord(EpochRecord& record) {
  const bool due = (record.epoch + 1) % setup_.config.evaluate_every() == 0 || epoch_ + 1 == setup_.config.epochs();
  if (due && setup_.config.bn_recalibration_batches() > 0) RecalibrateBatchNorm(record.epoch);
  // Also where the network is not run again: what the last step lost, or a filter that is off hides.
  record.divergence = LostTensor(model_);
  const auto evaluate = [&](absl::string_view part, const LabelledImages& images) {
    Evaluation evaluation =
        Evaluate(model_, *plan_, images, setup_.dataset->normalization, setup_.config.evaluation_batch_size());
    const std::string fault = EvaluationFault(evaluation);
    if (!fault.empty() && record.divergence.empty()) record.divergence = absl::StrCat(part, ": ", fault);
    return evaluation;
  };
  if (due && record.divergence.empty()) record.test = evaluate("test data", setup_.dataset->test);
  if (due && record.divergence.empty() && split_.validation.size() > 0) {
    record.validation = evaluate("validation data", split_.validation);
  }
  if (record.divergence.empty()) return;
  record.diverged = true;
  record.test.reset();
  record.validation.reset();
}

Safetensors Trainer::SaveState() const {
  Safetensors state;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    // A copy: training goes on while the state is written.
    state.tensors[name] = tensor.detach().to(at::kCPU, tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  };
  for (const NamedTensor& parameter : model_.parameters()) add(parameter.name, parameter.tensor);
  for (const NamedTensor& buffer : model_.buffers()) add(buffer.name, buffer.tensor);
  // In the shape that they have: a weight mask that happens to be the same in each filter stays a weight mask.
  for (const auto& [node, mask] : model_.masks()) add(absl::StrCat(kStateMask, node), mask);
  for (const auto& [node, mask] : start_masks_.masks()) add(absl::StrCat(kStartMask, node), mask);
  for (size_t i = 0; i < optimizer_.momentum().size(); ++i) {
    add(absl::StrCat(kMomentum, model_.parameters()[i].name), optimizer_.momentum()[i]);
  }
  for (const auto& [node, gradient] : last_gradients_) add(absl::StrCat(kGradient, node), gradient);
  const StrategyState strategy = setup_.strategy->SaveState();
  for (const auto& [name, tensor] : strategy.tensors) add(absl::StrCat(kStrategy, name), tensor);
  for (const auto& [name, value] : strategy.values) state.metadata[absl::StrCat(kStrategy, name)] = value;
  add(kStatePosition, at::tensor({epoch_, iteration_, sums_.images, sums_.correct.item<int64_t>(), record_.mask_updates,
                                  sums_.mask_changes[0].item<int64_t>(), sums_.mask_changes[1].item<int64_t>(),
                                  int64_t{optimizer_.started()}},
                                 at::kLong));
  add(kSums,
      at::tensor({sums_.loss.item<double>(), record_.learning_rate, record_.penalty, record_.penalty_gradient_ratio},
                 at::kDouble));
  state.metadata[kTotalEpochsRead] = total_epochs_read_ ? "yes" : kNotRead;
  return state;
}

std::optional<Trainer::SavedPlace> Trainer::PlaceOf(const Safetensors& state) {
  const auto position = state.tensors.find(kStatePosition);
  if (position == state.tensors.end() || position->second.numel() < 2 || position->second.scalar_type() != at::kLong) {
    return std::nullopt;
  }
  SavedPlace place;
  place.epoch = position->second[0].item<int64_t>();
  place.iteration = position->second[1].item<int64_t>();
  const auto read = state.metadata.find(kTotalEpochsRead);
  place.total_epochs_read = read == state.metadata.end() || read->second != kNotRead;
  return place;
}

absl::Status Trainer::LoadState(const Safetensors& state, const std::string& name) {
  std::vector<std::string> differences;
  std::set<std::string> used;
  // The saved tensor, if it is there with the shape and dtype of `like`.
  const auto find = [&](const std::string& key, const at::Tensor& like) -> at::Tensor {
    const auto found = state.tensors.find(key);
    used.insert(key);
    if (found == state.tensors.end()) {
      differences.push_back(absl::StrCat("missing ", key));
    } else if (found->second.sizes() != like.sizes() || found->second.scalar_type() != like.scalar_type()) {
      differences.push_back(absl::StrCat(key, " has another shape or type"));
    } else {
      return found->second;
    }
    return {};
  };
  const auto load = [&](const std::string& key, const at::Tensor& into) {
    const at::Tensor saved = find(key, into);
    if (saved.defined()) into.detach().copy_(saved);
  };
  for (const NamedTensor& parameter : model_.parameters()) load(parameter.name, parameter.tensor);
  for (const NamedTensor& buffer : model_.buffers()) load(buffer.name, buffer.tensor);
  for (size_t i = 0; i < optimizer_.momentum().size(); ++i) {
    load(absl::StrCat(kMomentum, model_.parameters()[i].name), optimizer_.momentum()[i]);
  }
  std::map<std::string, at::Tensor> masks, start_masks;
  StrategyState strategy;
  last_gradients_.clear();
  for (const auto& [key, tensor] : state.tensors) {
    absl::string_view rest = key;
    if (absl::ConsumePrefix(&rest, kStrategy)) {
      strategy.tensors[std::string(rest)] = tensor.to(setup_.device);
      used.insert(key);
      continue;
    }
    const bool is_start_mask = absl::ConsumePrefix(&rest, kStartMask);
    const bool is_mask = is_start_mask || absl::ConsumePrefix(&rest, kStateMask);
    if (!is_mask && !absl::ConsumePrefix(&rest, kGradient)) continue;
    const auto conv = conv_weight_.find(std::string(rest));
    if (conv == conv_weight_.end()) continue;  // reported as not used
    const at::Tensor weight = parameters_[conv->second].detach();
    const bool filters = is_mask && tensor.sizes() == ones_.at(conv->first).sizes();
    const at::Tensor saved = find(key, filters ? ones_.at(conv->first) : weight);
    if (!saved.defined()) continue;
    if (is_mask) {
      (is_start_mask ? start_masks : masks)[conv->first] = saved.to(setup_.device);
    } else {
      last_gradients_[conv->first] = LaidOutAs(saved.to(weight.device()), weight);
    }
  }
  const at::Tensor position = find(kStatePosition, at::zeros({8}, at::kLong));
  const at::Tensor sums = find(kSums, at::zeros({4}, at::kDouble));
  for (const auto& [key, unused] : state.tensors) {
    if (!used.count(key)) differences.push_back(absl::StrCat("unexpected ", key));
  }
  if (differences.empty()) {
    const int64_t* p = position.const_data_ptr<int64_t>();
    if (p[0] < 0 || p[0] > setup_.config.epochs() || p[1] < 0 || p[1] > batches_.batches_per_epoch()) {
      differences.push_back(absl::StrCat("is of epoch ", p[0], ", step ", p[1], ", which this training does not have"));
    }
  }
  if (!differences.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": is no state of this training:\n  ", absl::StrJoin(differences, "\n  ")));
  }
  for (const auto& [key, value] : state.metadata) {
    absl::string_view rest = key;
    if (absl::ConsumePrefix(&rest, kStrategy)) strategy.values[std::string(rest)] = value;
  }
  PRUNELAB_RETURN_IF_ERROR(setup_.strategy->LoadState(strategy));
  model_.SetMasks(masks);
  // The first stretch's are those of the initial weights, which are here.
  if (setup_.first_epoch > 0) start_masks_.set_masks(std::move(start_masks));
  const int64_t* p = position.const_data_ptr<int64_t>();
  epoch_ = p[0];
  iteration_ = p[1];
  total_epochs_read_ = PlaceOf(state)->total_epochs_read;
  record_ = EpochRecord();
  sums_.images = p[2];
  sums_.correct.fill_(p[3]);
  record_.mask_updates = p[4];
  sums_.mask_changes.copy_(position.slice(0, 5, 7));
  optimizer_.set_started(p[7] != 0);
  const double* d = sums.const_data_ptr<double>();
  sums_.loss.fill_(d[0]);
  record_.learning_rate = d[1];
  record_.penalty = d[2];
  record_.penalty_gradient_ratio = d[3];
  return absl::OkStatus();
}

void Trainer::RecalibrateBatchNorm(int64_t epoch) {
  const at::NoGradGuard no_gradients;
  const int64_t count = std::min<int64_t>(setup_.config.bn_recalibration_batches(), batches_.batches_per_epoch());
  for (int64_t i = 0; i < count; ++i) {
    ForwardOptions options;
    options.mode = Mode::kTrain;
    options.batch_norm_momentum = 1.0 / static_cast<double>(i + 1);  // the plain mean over the batches
    plan_->Forward(model_, batches_.Get(epoch, i).images, options);
  }
}

void Trainer::Measure(EpochRecord& record) const {
  const MaskMeasures measures = MeasureMasks(model_.info(), model_.masks());
  record.filter_sparsity = measures.filter_sparsity;
  record.weight_sparsity = measures.weight_sparsity;
  record.paper_sparsity = measures.paper_sparsity;
  record.live_filters = measures.live_filters;
  record.mean_abs_rho = MeanAbsRho(RegularizedLayers(model_));
  const RemovedSize removed = SizeAfterRemoval(model_);
  record.live_parameters = removed.parameters;
  record.live_macs = removed.macs;
}

}  // namespace prunelab
