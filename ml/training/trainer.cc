#include "ml/training/trainer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/digest.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compressed_model.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/device_arithmetic.h"
#include "ml/network/readers.h"
#include "ml/training/augmentation.h"
#include "ml/training/clip_gradients.h"
#include "ml/training/distillation.h"
#include "ml/training/make_optimizer.h"
#include "ml/training/precision.h"
#include "ml/training/schedule.h"
#include "ml/training/step_plan.h"
#include "ml/training/training_config.h"
#include "ml/training/validation_images.h"

namespace prunelab {
namespace {

StartMasks StartMasksOf(Model& model, const PruningStrategy& strategy) {
  StartMasks masks(model);
  if (strategy.regrows()) masks.LetReturn(strategy.granularity());
  return masks;
}

void Diverge(std::string why, EpochRecord& record) {
  record.diverged = true;
  record.divergence = std::move(why);
}

// What captures steps; null where none are.
std::unique_ptr<Recorder> RecorderOf(TrainingSetup& setup) {
  if (setup.recorder != nullptr) return std::move(setup.recorder);
  // The steps of a quantized training change when rounding begins.
  const bool graphs = setup.device.is_cuda() && setup.config.cuda_graphs() && !setup.config.has_quantization();
  return graphs ? MakeCudaGraphRecorder(setup.device) : nullptr;
}

TrainingQuantization QuantizationOf(const Training& config) {
  TrainingQuantization options;
  options.weight_bits = config.quantization().weight_bits();
  options.activation_bits = config.quantization().activation_bits();
  options.per_channel = config.quantization().per_channel();
  options.range_momentum = config.quantization().range_momentum();
  return options;
}

// By conv node, the index of its weight among the model's parameters.
std::map<std::string, size_t> ConvWeights(const Model& model) {
  std::map<std::string, size_t> weights;
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const NamedTensor& parameter = model.parameters()[i];
    const Node& node = model.info().node(model.info().Index(parameter.node));
    const bool weight = parameter.name == absl::StrCat(parameter.node, ".weight");
    if (weight && node.op_case() == Node::kConv2D) weights[parameter.node] = i;
  }
  return weights;
}

// What the gradient of a masked convolution's weight is multiplied by: 1 where the mask is on. It waits for no device.
at::Tensor DeadGradientFactor(const Model& model, const std::string& conv, const DeadGradient& dead) {
  const at::Tensor& mask = model.masks().at(conv);
  at::Tensor off = at::full({}, dead.scale, mask.options());
  const std::string norm = dead.as_live ? OwnBatchNorm(model.info(), conv) : "";
  if (!norm.empty()) {
    const double epsilon = model.info().node(model.info().Index(norm)).batch_norm2d().epsilon();
    const at::Tensor live = mask.flatten(1).ne(0).any(1).to(mask.scalar_type());
    const at::Tensor variances = model.Get(absl::StrCat(norm, ".running_var")).detach();
    // Where no filter is live, the variance that fresh batch norms have.
    const at::Tensor mean = at::where(live.sum().gt(0), (variances * live).sum() / live.sum().clamp_min(1),
                                      at::ones({}, variances.options()));
    off = off * (epsilon / (mean + epsilon)).sqrt();
  }
  return mask + (1 - mask) * off;
}

// Whether a buffer is a mean or a variance that training moves.
bool IsRunningStatistic(const NamedTensor& buffer) {
  return absl::EndsWith(buffer.name, ".running_mean") || absl::EndsWith(buffer.name, ".running_var");
}

// Parameters and buffers, by name.
std::map<std::string, at::Tensor> CopiesOf(const Model& model) {
  std::map<std::string, at::Tensor> copies;
  for (const std::vector<NamedTensor>* named : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& entry : *named) copies[entry.name] = entry.tensor.detach().clone();
  }
  return copies;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(TrainingSetup setup) {
  PRUNELAB_RETURN_IF_ERROR(InField("training", CheckPrecision(setup.config, setup.device)));
  if (setup.teacher) {
    const absl::Status fits = CheckTeacher(setup.config, setup.teacher->info(), setup.network);
    if (!fits.ok()) return InField("training", fits);
  }
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
  PRUNELAB_RETURN_IF_ERROR(InField("training", CheckAugmentation(setup.config, setup.dataset->train)));
  absl::StatusOr<ValidationSplit> split = ValidationSplitOf(setup.config, *setup.dataset);
  if (!split.ok()) return InField("training", split.status());
  const int64_t images = setup.dataset->train.size() - split->validation.size();
  PRUNELAB_RETURN_IF_ERROR(InField("training", CheckLastBatch(setup.config, setup.network, images)));
  if (setup.ranks != nullptr) {
    PRUNELAB_RETURN_IF_ERROR(InField("training", CheckRanks(setup.config, setup.network, images, setup.ranks->size())));
  }
  std::unique_ptr<Trainer> trainer =
      absl::WrapUnique(new Trainer(std::move(setup), *std::move(split), std::move(model)));
  // After the constructor has kept the run's start.
  if (std::optional<Safetensors>& state = trainer->setup_.continued_from) {
    PRUNELAB_RETURN_IF_ERROR(LoadIntoModel(*state, "the training before", trainer->model_));
    state.reset();
    trainer->start_masks_ = StartMasksOf(trainer->model_, *trainer->setup_.strategy);
    if (trainer->filter_measures_) trainer->filter_measures_.emplace(trainer->model_);
  }
  return trainer;
}

Trainer::Trainer(TrainingSetup setup, ValidationSplit split, Model model)
    : setup_(std::move(setup)),
      split_(std::move(split)),
      model_(std::move(model)),
      start_masks_(StartMasksOf(model_, *setup_.strategy)),
      layers_(model_),
      step_plan_(MakeStepPlan(setup_.config, setup_.device, setup_.ranks != nullptr ? setup_.ranks->size() : 1)),
      plan_(MakePlan(setup_.config, setup_.device)),
      loss_(setup_.config, std::exchange(setup_.teacher, std::nullopt), setup_.device),
      penalty_(*setup_.regularizer, setup_.penalty_weight, setup_.penalty_growth, model_),
      batches_(train(), setup_.dataset->normalization, AugmentationOf(setup_.config), setup_.config.batch_size(),
               setup_.seed, setup_.dtype, setup_.device, /*ahead=*/setup_.device.is_cuda(),
               setup_.ranks != nullptr ? setup_.ranks->share() : Share()),
      dropout_(model_.info(), setup_.seed, setup_.device),
      optimizer_(MakeOptimizer(setup_.config, model_.parameters())),
      conv_weights_(ConvWeights(model_)),
      sums_(setup_.device) {
  PRUNELAB_CHECK(!setup_.rewind_to || !setup_.rewind_to_start) << "two networks to rewind to";
  if (setup_.ranks != nullptr) {
    std::vector<at::Tensor> parameters;
    for (const NamedTensor& parameter : model_.parameters()) parameters.push_back(parameter.tensor);
    reduction_.emplace(*setup_.ranks, std::move(parameters));
    step_sums_.emplace(setup_.device);
  }
  if (setup_.device.is_cuda()) lead_.emplace(MarkOf(setup_.device));
  if (std::unique_ptr<Recorder> recorder = RecorderOf(setup_)) {
    // Steps are captured that are all alike, and an epoch's last is not.
    const StepHalves halves = {
        [this](Model& by, const StepInputs& inputs, StepTensors& step) { Differentiate(by, inputs, false, step); },
        [this](const Model& by, StepTensors& step) { Learn(by, false, step); }};
    capture_.emplace(std::move(recorder), model_, halves, setup_.on_warning);
  }
  if (setup_.strategy->needs_probe()) {
    probe_.emplace(model_, &train(), &setup_.dataset->normalization, setup_.seed);
    setup_.strategy->Attach(*probe_);
  }
  if (setup_.config.has_weight_average()) average_.emplace(model_, setup_.config.weight_average().decay());
  if (setup_.rewind_to_start) start_ = CopiesOf(model_);
  if (setup_.config.filter_measures()) filter_measures_.emplace(model_);
  if (setup_.config.has_quantization()) {
    auto quantizer = std::make_unique<QuantizedTrainingPlan>(model_, QuantizationOf(setup_.config));
    quantizer_ = quantizer.get();
    step_plan_ = std::move(quantizer);
    for (const auto& [node, range] : setup_.continued_ranges) quantizer_->ranges().at(node).copy_(range);
  }
}

int64_t Trainer::batches_per_step() const {
  return std::min<int64_t>(setup_.config.accumulate_batches(), batches_.batches_per_epoch());
}

int64_t Trainer::iterations_per_epoch() const {
  return (batches_.batches_per_epoch() + batches_per_step() - 1) / batches_per_step();
}

StepPosition Trainer::Position(int64_t back) const {
  StepPosition position;
  position.epoch = epoch_;
  position.iteration = iteration_ - back;
  position.iterations_per_epoch = iterations_per_epoch();
  position.epochs = TotalEpochs(setup_.config.epochs(), &total_epochs_read_);
  return position;
}

absl::Status Trainer::UpdateMasks(const absl::StatusOr<std::optional<MaskUpdate>>& update) {
  if (absl::IsDataLoss(update.status())) {  // weights that are no longer finite: the step before lost them
    Diverge(std::string(update.status().message()), epoch_so_far_);
    return absl::OkStatus();
  }
  PRUNELAB_RETURN_IF_ERROR(update.status());
  if (!*update) return absl::OkStatus();
  const std::map<std::string, at::Tensor> before = model_.masks();
  ApplyMaskUpdate(**update, start_masks_, model_, optimizer_->moments());
  epoch_so_far_.measures.set_mask_updates(epoch_so_far_.measures.mask_updates() + 1);
  sums_.AddMaskChanges(model_, before);
  if (filter_measures_) filter_measures_->CountChanges(before, model_.masks(), Position().step());
  return absl::OkStatus();
}

void Trainer::Rewind() {
  for (const auto& [name, tensor] : setup_.rewind_to ? setup_.rewind_to->tensors : start_) {
    if (model_.Has(name)) model_.Get(name).detach().copy_(tensor);  // no masks
  }
  start_masks_.Zero(model_);
  if (filter_measures_) filter_measures_.emplace(model_);
}

GradientPolicy Trainer::StepPolicy() const {
  // A strategy that asks for gradients gets the dense ones; Learn removes what masked weights must not learn.
  return setup_.strategy->needs_gradients() ? GradientPolicy::kStraightThrough : setup_.strategy->gradient_policy();
}

void Trainer::Differentiate(Model& model, const StepInputs& inputs, bool last_step, StepTensors& step) {
  const DeviceArithmetic arithmetic(setup_.config.precision() == Training::TF32 ? DeviceArithmetic::Float32::kTf32
                                                                                : DeviceArithmetic::Float32::kIeee);
  ForwardOptions options;
  options.mode = Mode::kTrain;
  options.policy = StepPolicy();
  options.capture = penalty_.activation_nodes();
  options.kept = inputs.kept;
  if (setup_.config.synchronized_batch_norm()) options.batch_norm_ranks = setup_.ranks;
  const ForwardResult result = step_plan_->Forward(model, inputs.batch.images, options);
  executed_macs_ = result.executed_macs;
  at::Tensor loss = loss_.Of(result.logits, inputs.batch);
  step.loss = loss.detach();
  step.activations = penalty_.OfActivations(result.captured);
  const bool apart = last_step || setup_.strategy->needs_gradients();
  const int64_t images = inputs.batch.labels.size(0);
  const bool reduces = reduction_ && batches_per_step() == 1;
  if (reduction_) {
    // Before the backward pass: a gradient that crosses ranks, of a synchronized batch norm, belongs to all of the
    // batch.
    const double share = static_cast<double>(images) / static_cast<double>(inputs.all_images);
    loss = loss * share;
    if (step.activations.value.defined()) step.activations.value = step.activations.value * share;
    // A penalty that is differentiated apart would put its gradients among the loss's.
    if (reduces && !(apart && step.activations.value.defined())) reduction_->Begin();
  }
  step.gradients = penalty_.Differentiate(loss, step.activations, apart);
  // A graph that is kept alive would tie the parameters' gradients to the stream that it was made on.
  if (step.activations.value.defined()) step.activations.value = step.activations.value.detach();
  (step_sums_ ? *step_sums_ : sums_).AddBatch(step.loss, result.logits.detach(), inputs.batch.labels);
  if (reduces) Reduce(model, images, inputs.all_images, /*in_place=*/false, step);
}

void Trainer::Reduce(Model& model, int64_t own_images, int64_t all_images, bool in_place, StepTensors& step) {
  const double share = static_cast<double>(own_images) / static_cast<double>(all_images);
  std::vector<StepReduction::Other> others = {{step_sums_->loss()}, {step_sums_->correct()}};
  for (const NamedTensor& buffer : model.buffers()) {
    if (IsRunningStatistic(buffer)) others.push_back({buffer.tensor, share});
  }
  if (quantizer_ != nullptr) {
    for (const auto& [node, range] : quantizer_->ranges()) others.push_back({range, share});
  }
  if (step.activations.value.defined()) others.push_back({step.activations.value});
  reduction_->Finish(step.gradients, others, in_place);
  if (!step.activations.gradients.empty()) reduction_->Finish(step.activations.gradients, {}, in_place);
  sums_.Take(*step_sums_);
}

void Trainer::Learn(const Model& model, bool last_step, StepTensors& step) {
  std::vector<at::Tensor> gradients = step.gradients;
  ActivationPenalty activations = step.activations;
  const auto multiply = [&](const std::string& node, const at::Tensor& factor) {
    const size_t index = conv_weights_.at(node);
    gradients[index] = at::mul(gradients[index], factor);
    if (activations.gradients.empty() || !activations.gradients[index].defined()) return;
    activations.gradients[index] = at::mul(activations.gradients[index], factor);
  };
  if (StepPolicy() != setup_.strategy->gradient_policy()) {
    for (const auto& [node, mask] : model.masks()) multiply(node, mask);
  }
  const DeadGradient dead = setup_.strategy->dead_gradient();
  if (dead.changes() && setup_.strategy->gradient_policy() == GradientPolicy::kStraightThrough) {
    for (const auto& [node, mask] : model.masks()) multiply(node, DeadGradientFactor(model, node, dead));
  }
  for (const auto& [node, learns] : setup_.strategy->learns_from_loss()) multiply(node, learns);
  PenaltyMeasures measures;
  penalty_.AddTo(gradients, model, activations, last_step ? &measures : nullptr);
  if (last_step) {
    epoch_so_far_.measures.set_penalty(measures.value);
    epoch_so_far_.measures.set_penalty_gradient_ratio(measures.gradient_ratio);
  }
  for (const auto& [node, mask] : start_masks_.masks()) {
    at::Tensor& gradient = gradients[conv_weights_.at(node)];
    gradient = at::mul(gradient, mask);
  }
  // Of what the optimizer gets, so that what masked weights do not learn shortens no other gradient.
  const double norm = setup_.config.clip_gradient_norm();
  optimizer_->Step(norm > 0 ? ClippedToNorm(gradients, norm) : gradients);
}

void Trainer::KeepGradients(const std::vector<at::Tensor>& gradients, bool copy) {
  if (!setup_.strategy->needs_gradients()) return;
  for (const auto& [node, index] : conv_weights_) {
    // Laid out as the weight, so that sums over it round alike when it comes back from a saved state.
    const at::Tensor gradient = gradients[index].detach(), weight = model_.parameters()[index].tensor.detach();
    last_gradients_[node] = copy ? at::empty_like(weight).copy_(gradient) : LaidOutAs(gradient, weight);
  }
}

absl::StatusOr<StepTensors*> Trainer::DifferentiateBatches(bool captured, bool last_step, StepTensors& own) {
  const int64_t epoch = setup_.first_epoch + epoch_, first = iteration_ * batches_per_step();
  const int64_t end = std::min(first + batches_per_step(), batches_.batches_per_epoch());
  const int64_t size = setup_.config.batch_size();
  const auto all_images = static_cast<double>(std::min(end * size, train().size()) - first * size);
  StepSum sum;
  StepTensors* step = &own;
  int64_t own_images = 0;
  for (int64_t index = first; index < end; ++index) {
    StepInputs inputs;
    PRUNELAB_ASSIGN_OR_RETURN(inputs.batch, batches_.Get(epoch, index));
    const int64_t images = batches_.images(index);
    inputs.all_images = images;
    own_images += inputs.batch.labels.size(0);
    inputs.kept = dropout_.Draw(epoch, index, images, setup_.ranks != nullptr ? setup_.ranks->share() : Share());
    if (captured) {
      const StepKind kind = {setup_.strategy->gradient_policy(), setup_.strategy->needs_gradients()};
      step = capture_->Differentiate(inputs, kind);
    } else {
      Differentiate(model_, inputs, last_step, own);
    }
    sums_.AddImages(images);
    // On the CPU a NaN loss ends the epoch at once; on a GPU, checking would synchronize at every step.
    // Of several ranks, one that ended alone would leave the others waiting.
    if (setup_.device.is_cpu() && !reduction_ && !std::isfinite(step->loss.item<double>())) return nullptr;
    if (end - first > 1) sum.Add(*step, static_cast<double>(images) / all_images);
    if (lead_ && index + 1 < end) lead_->EndStep();  // the host is no more batches ahead than it would be steps
  }
  const bool in_place = captured && capture_->replays();
  if (end - first > 1) sum.MoveInto(*step, in_place);
  // Where steps have several batches, Differentiate does not, also not for a last one that is left alone.
  if (reduction_ && batches_per_step() > 1)
    Reduce(model_, own_images, static_cast<int64_t>(all_images), in_place, *step);
  if (setup_.device.is_cpu() && reduction_ && !std::isfinite(sums_.loss().item<double>())) return nullptr;
  return step;
}

absl::Status Trainer::Step() {
  const StepPosition position = Position();
  PRUNELAB_RETURN_IF_ERROR(UpdateMasks(setup_.strategy->Update(position, layers_.Of(last_gradients_))));
  if (epoch_so_far_.diverged) return absl::OkStatus();
  if ((setup_.rewind_to || setup_.rewind_to_start) && position.step() == 0) Rewind();

  const bool last_step = iteration_ + 1 == position.iterations_per_epoch;
  const double learning_rate = LearningRate(setup_.config, epoch_, iteration_, position.iterations_per_epoch);
  optimizer_->set_learning_rate(learning_rate);
  penalty_.SetStep(position.step());

  // Not captured are an epoch's last step, which is measured and may have fewer images, and the one that starts SGD's
  // momentum.
  const bool captured = capture_.has_value() && !last_step && optimizer_->steps_are_alike();
  StepTensors own;
  PRUNELAB_ASSIGN_OR_RETURN(const StepTensors* const step, DifferentiateBatches(captured, last_step, own));
  if (step == nullptr) {
    Diverge(absl::StrCat("the training loss of step ", iteration_, " is not finite"), epoch_so_far_);
    return absl::OkStatus();
  }
  KeepGradients(step->gradients, /*copy=*/captured && capture_->replays());
  setup_.strategy->Observe(position, layers_.Observed(last_gradients_, step->gradients, *setup_.strategy));
  if (captured) {
    capture_->Learn();
  } else {
    Learn(model_, last_step, own);
  }
  if (average_) average_->AddStep();
  epoch_so_far_.measures.set_learning_rate(learning_rate);
  ++iteration_;
  return absl::OkStatus();
}

absl::Status Trainer::RunSteps() {
  const int64_t iterations = iterations_per_epoch(), epoch = epoch_so_far_.epoch;
  while (iteration_ < iterations) {
    PRUNELAB_RETURN_IF_ERROR(Step());
    if (epoch_so_far_.diverged) break;
    if (lead_) lead_->EndStep();
    if (setup_.on_step) setup_.on_step({epoch, iteration_ - 1, iterations, sums_.images()});
    const bool stop = setup_.stop && setup_.stop();
    if (setup_.ranks != nullptr ? setup_.ranks->Any(stop) : stop) {
      return absl::CancelledError(
          absl::StrCat("stopped in epoch ", epoch, " after ", iteration_, " of ", iterations, " steps, as was asked"));
    }
  }
  return absl::OkStatus();
}

absl::Status Trainer::TrainEpoch() {
  PRUNELAB_RETURN_IF_ERROR(RunSteps());
  if (epoch_so_far_.diverged) return absl::OkStatus();
  return UpdateMasks(setup_.strategy->EndEpoch(Position(1), layers_.Of(last_gradients_)));
}

absl::StatusOr<EpochRecord> Trainer::RunEpoch() {
  const DeviceArithmetic arithmetic(DeviceArithmetic::Float32::kIeee);
  epoch_so_far_.epoch = setup_.first_epoch + epoch_;
  if (quantizer_ != nullptr) {
    quantizer_->set_rounding(epoch_so_far_.epoch >= setup_.config.quantization().start_epoch());
  }
  const absl::Status trained = TrainEpoch();
  if (average_) average_->Update();
  PRUNELAB_RETURN_IF_ERROR(trained);
  if (setup_.ranks != nullptr) PRUNELAB_RETURN_IF_ERROR(CheckRanksAgree());
  EpochRecord record = std::exchange(epoch_so_far_, EpochRecord());
  sums_.Into(record.measures);
  if (!record.diverged && !std::isfinite(record.measures.train_loss()))
    Diverge("the training loss is not finite", record);
  if (!record.diverged) PRUNELAB_RETURN_IF_ERROR(EvaluateEpoch(record));
  MeasureNetwork(result(), record.measures);
  if (filter_measures_) filter_measures_->EndEpoch(model_, Position().step(), record.measures);
  ++epoch_;
  iteration_ = 0;
  return record;
}

absl::Status Trainer::CheckRanksAgree() {
  std::vector<std::string> names;
  std::vector<int64_t> digests;
  const auto add = [&](std::string name, const at::Tensor& tensor) {
    const at::Tensor host = tensor.detach().cpu().contiguous();
    const std::string digest = Sha256({static_cast<const char*>(host.const_data_ptr()), host.nbytes()});
    names.push_back(std::move(name));
    digests.push_back(static_cast<int64_t>(std::stoull(digest.substr(0, 16), nullptr, 16)));
  };
  const std::vector<NamedTensor>& parameters = model_.parameters();
  for (const NamedTensor& parameter : parameters) add(parameter.name, parameter.tensor);
  for (const NamedTensor& buffer : model_.buffers()) add(buffer.name, buffer.tensor);
  for (const auto& [node, mask] : model_.masks()) add(absl::StrCat("the mask of ", node), mask);
  for (const std::vector<at::Tensor>& moments : optimizer_->moments()) {
    for (size_t i = 0; i < moments.size(); ++i) add(absl::StrCat("the momentum of ", parameters[i].name), moments[i]);
  }
  for (size_t i = 0; average_ && i < parameters.size(); ++i) {
    add(absl::StrCat("the average of ", parameters[i].name), average_->averages()[i]);
  }
  for (const std::vector<int64_t>& count : setup_.ranks->Gather({static_cast<int64_t>(names.size())})) {
    if (count[0] == static_cast<int64_t>(names.size())) continue;
    return absl::InternalError(absl::StrCat("after epoch ", epoch_so_far_.epoch, ", ranks have different masks"));
  }
  const std::vector<std::vector<int64_t>> all = setup_.ranks->Gather(digests);
  for (size_t i = 0; i < names.size(); ++i) {
    for (size_t rank = 1; rank < all.size(); ++rank) {
      if (all[rank][i] == all[0][i]) continue;
      return absl::InternalError(
          absl::StrCat("after epoch ", epoch_so_far_.epoch, ", ", names[i], " of rank ", rank,
                       " is not that of rank 0: one of their machines computes otherwise, or wrongly; "
                       "ranks need CPUs of one kind, or GPUs of one kind"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Model> Trainer::EvaluatedModel() {
  if (quantizer_ == nullptr || !quantizer_->rounding()) return result();
  PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork network, quantizer_->Quantized(model_));
  return ToModel(network, setup_.device);
}

absl::Status Trainer::EvaluateEpoch(EpochRecord& record) {
  const bool due = (record.epoch + 1) % setup_.config.evaluate_every() == 0 || epoch_ + 1 == setup_.config.epochs();
  if (due && setup_.config.bn_recalibration_batches() > 0) {
    PRUNELAB_RETURN_IF_ERROR(RecalibrateBatchNorm(record.epoch));
  }
  // Also if the network is not run again: a weight that the last step lost, or one that a masked filter hides.
  record.divergence = LostTensor(model_);
  if (record.divergence.empty() && average_) record.divergence = LostTensor(result());
  absl::StatusOr<Model> evaluated = result();
  if (record.divergence.empty()) evaluated = EvaluatedModel();
  if (!evaluated.ok()) record.divergence = std::string(evaluated.status().message());
  const auto evaluate = [&](absl::string_view part, const LabelledImages& images) -> absl::StatusOr<Evaluation> {
    PRUNELAB_ASSIGN_OR_RETURN(const Evaluation evaluation,
                              Evaluate(*evaluated, *plan_, images, setup_.dataset->normalization,
                                       setup_.config.evaluation_batch_size(), setup_.ranks));
    const std::string fault = EvaluationFault(evaluation);
    if (!fault.empty() && record.divergence.empty()) record.divergence = absl::StrCat(part, ": ", fault);
    return evaluation;
  };
  std::optional<Evaluation> test, validation;
  if (due && record.divergence.empty() && setup_.config.test_data()) {
    PRUNELAB_ASSIGN_OR_RETURN(test, evaluate("test data", setup_.dataset->test));
  }
  if (due && record.divergence.empty() && split_.validation.size() > 0) {
    PRUNELAB_ASSIGN_OR_RETURN(validation, evaluate("validation data", split_.validation));
  }
  record.diverged = !record.divergence.empty();
  if (record.diverged) return absl::OkStatus();  // none of its evaluations counts
  if (test) SetTest(*test, record.measures);
  if (validation) SetValidation(*validation, record.measures);
  return absl::OkStatus();
}

absl::Status Trainer::RecalibrateBatchNorm(int64_t epoch) {
  const at::NoGradGuard no_gradients;
  const int64_t count = std::min<int64_t>(setup_.config.bn_recalibration_batches(), batches_.batches_per_epoch());
  const bool synchronized = setup_.ranks != nullptr && setup_.config.synchronized_batch_norm();
  ReferencePlan synchronized_plan;
  Plan& plan = synchronized ? synchronized_plan : *plan_;
  int64_t own_images = 0, all_images = 0;
  for (int64_t i = 0; i < count; ++i) {
    ForwardOptions options;
    options.mode = Mode::kTrain;
    if (synchronized) options.batch_norm_ranks = setup_.ranks;
    // Nothing is dropped: what BN meets in an evaluation are whole activations.
    options.batch_norm_momentum = 1.0 / static_cast<double>(i + 1);  // the plain mean over the batches
    PRUNELAB_ASSIGN_OR_RETURN(const Batch batch, batches_.Get(epoch, i));
    plan.Forward(result(), batch.images, options);
    own_images += batch.labels.size(0);
    all_images += batches_.images(i);
  }
  if (setup_.ranks == nullptr || synchronized) return absl::OkStatus();
  // Each rank's statistics are of its share of the batches.
  for (const NamedTensor& buffer : result().buffers()) {
    if (!IsRunningStatistic(buffer)) continue;
    buffer.tensor.detach().mul_(static_cast<double>(own_images) / static_cast<double>(all_images));
    setup_.ranks->Sum(buffer.tensor.detach());
  }
  return absl::OkStatus();
}

}  // namespace prunelab
