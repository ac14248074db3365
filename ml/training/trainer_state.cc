// How a trainer's state is saved and restored (ml/execution/saved_state.h).
#include <ATen/ATen.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

// Of the optimizer's moments, in their order.
constexpr SavedState::Group kMomentGroups[] = {SavedState::MOMENTUM, SavedState::SECOND_MOMENT};

// A copy on the host, so that training can continue while it is written.
at::Tensor Copied(const at::Tensor& tensor) {
  return tensor.detach().to(at::kCPU, tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace

Safetensors Trainer::SaveState() const {
  TrainingState state;
  const auto add = [&](SavedState::Group group, const std::string& name, const at::Tensor& tensor) {
    state.tensors[group][name] = Copied(tensor);
  };
  const std::vector<NamedTensor>& parameters = model_.parameters();
  for (const NamedTensor& parameter : parameters) add(SavedState::NETWORK, parameter.name, parameter.tensor);
  for (const NamedTensor& buffer : model_.buffers()) add(SavedState::NETWORK, buffer.name, buffer.tensor);
  // With the shape that they have: a weight mask that happens to be the same in each filter stays a weight mask.
  for (const auto& [node, mask] : model_.masks()) add(SavedState::MASK, node, mask);
  for (const auto& [node, mask] : start_masks_.masks()) add(SavedState::START_MASK, node, mask);
  for (size_t k = 0; k < optimizer_->moments().size(); ++k) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      add(kMomentGroups[k], parameters[i].name, optimizer_->moments()[k][i]);
    }
  }
  for (size_t i = 0; average_ && average_->started() && i < parameters.size(); ++i) {
    add(SavedState::AVERAGE, parameters[i].name, average_->averages()[i]);
  }
  for (const auto& [node, gradient] : last_gradients_) add(SavedState::GRADIENT, node, gradient);
  if (filter_measures_) {
    for (const auto& [node, weight] : filter_measures_->start()) add(SavedState::EPOCH_START, node, weight);
    for (const auto& [node, steps] : filter_measures_->changed()) add(SavedState::MASK_CHANGED, node, steps);
  }
  if (quantizer_ != nullptr) {
    for (const auto& [node, range] : quantizer_->ranges()) add(SavedState::RANGE, node, range);
  }
  const StrategyState strategy = setup_.strategy->SaveState();
  for (const auto& [name, tensor] : strategy.tensors) add(SavedState::STRATEGY, name, tensor);
  state.message = Progress();
  state.message.mutable_strategy()->insert(strategy.values.begin(), strategy.values.end());
  return ToSafetensors(state);
}

SavedState Trainer::Progress() const {
  SavedState saved;
  const EpochSums::Values values = sums_.Get();
  SavedState::Position& position = *saved.mutable_position();
  position.set_epoch(epoch_);
  position.set_iteration(iteration_);
  position.set_images(values.images);
  position.set_correct(values.correct);
  position.set_mask_updates(epoch_so_far_.measures.mask_updates());
  position.set_mask_changes(values.mask_changes);
  position.set_returned_filters(values.returned_filters);
  position.set_optimizer_started(optimizer_->steps());
  SavedState::Sums& sums = *saved.mutable_sums();
  sums.set_loss(values.loss);
  sums.set_learning_rate(epoch_so_far_.measures.learning_rate());
  sums.set_penalty(epoch_so_far_.measures.penalty());
  sums.set_penalty_gradient_ratio(epoch_so_far_.measures.penalty_gradient_ratio());
  saved.set_total_epochs_read(total_epochs_read_);
  return saved;
}

std::optional<Trainer::SavedPlace> Trainer::PlaceOf(const Safetensors& file) {
  const SavedState saved = ParseTrainingState(file).message;
  if (!saved.has_position()) return std::nullopt;
  return SavedPlace{saved.position().epoch(), saved.position().iteration(), saved.total_epochs_read()};
}

absl::Status Trainer::LoadState(const Safetensors& file, const std::string& name) {
  const TrainingState state = ParseTrainingState(file);
  const SavedState& saved = state.message;
  StateReader reader(state);
  const std::vector<NamedTensor>& parameters = model_.parameters();
  for (const NamedTensor& parameter : parameters) reader.Load(SavedState::NETWORK, parameter.name, parameter.tensor);
  for (const NamedTensor& buffer : model_.buffers()) reader.Load(SavedState::NETWORK, buffer.name, buffer.tensor);
  for (size_t k = 0; k < optimizer_->moments().size(); ++k) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      reader.Load(kMomentGroups[k], parameters[i].name, optimizer_->moments()[k][i]);
    }
  }
  if (average_) average_->set_started(saved.position().epoch() > 0 || saved.position().iteration() > 0);
  for (size_t i = 0; average_ && average_->started() && i < parameters.size(); ++i) {
    reader.Load(SavedState::AVERAGE, parameters[i].name, average_->averages()[i]);
  }
  const std::map<std::string, at::Tensor> masks = TakeMasks(SavedState::MASK, reader);
  std::map<std::string, at::Tensor> start_masks = TakeMasks(SavedState::START_MASK, reader);
  TakeGradients(reader);
  TakeFilterMeasures(reader);
  TakeRanges(reader);
  StrategyState strategy;
  for (const auto& [key, tensor] : reader.Group(SavedState::STRATEGY)) {
    strategy.tensors[key] = reader.Take(SavedState::STRATEGY, key, tensor).to(setup_.device);
  }
  strategy.values.insert(saved.strategy().begin(), saved.strategy().end());
  const int64_t epoch = saved.position().epoch(), iteration = saved.position().iteration();
  if (epoch < 0 || epoch > setup_.config.epochs() || iteration < 0 || iteration > iterations_per_epoch()) {
    reader.AddDifference(
        absl::StrCat("is of epoch ", epoch, ", step ", iteration, ", which this training does not have"));
  }
  PRUNELAB_RETURN_IF_ERROR(reader.Finish(name));
  PRUNELAB_RETURN_IF_ERROR(setup_.strategy->LoadState(strategy));
  model_.SetMasks(masks);
  // Those of the first stretch are the initial weights, which are available here.
  if (setup_.first_epoch > 0) start_masks_.set_masks(std::move(start_masks));
  SetProgress(saved);
  if (average_) average_->Update();
  return absl::OkStatus();
}

std::map<std::string, at::Tensor> Trainer::TakeMasks(SavedState::Group group, StateReader& reader) const {
  std::map<std::string, at::Tensor> masks;
  for (const auto& [node, tensor] : reader.Group(group)) {
    const auto conv = conv_weights_.find(node);
    if (conv == conv_weights_.end()) continue;  // unexpected, as the reader will say
    const at::Tensor weight = model_.parameters()[conv->second].tensor.detach();
    const at::Tensor filters = at::empty({weight.size(0), 1, 1, 1}, weight.options());
    const at::Tensor mask = reader.Take(group, node, tensor.sizes() == filters.sizes() ? filters : weight);
    if (mask.defined()) masks[node] = mask.to(setup_.device);
  }
  return masks;
}

void Trainer::TakeGradients(StateReader& reader) {
  last_gradients_.clear();
  for (const auto& [node, unused] : reader.Group(SavedState::GRADIENT)) {
    const auto conv = conv_weights_.find(node);
    if (conv == conv_weights_.end()) continue;  // unexpected, as the reader will say
    const at::Tensor weight = model_.parameters()[conv->second].tensor.detach();
    const at::Tensor gradient = reader.Take(SavedState::GRADIENT, node, weight);
    if (gradient.defined()) last_gradients_[node] = LaidOutAs(gradient.to(setup_.device), weight);
  }
}

void Trainer::TakeRanges(StateReader& reader) {
  if (quantizer_ == nullptr) return;
  for (const auto& [node, range] : quantizer_->ranges()) reader.Load(SavedState::RANGE, node, range);
}

void Trainer::TakeFilterMeasures(StateReader& reader) {
  if (!filter_measures_) return;
  const auto taken = [&](SavedState::Group group, const std::map<std::string, at::Tensor>& like) {
    std::map<std::string, at::Tensor> tensors;
    for (const auto& [node, tensor] : like) {
      const at::Tensor saved = reader.Take(group, node, tensor);
      tensors[node] = saved.defined() ? LaidOutAs(saved.to(setup_.device), tensor) : tensor;
    }
    return tensors;
  };
  filter_measures_->Set(taken(SavedState::EPOCH_START, filter_measures_->start()),
                        taken(SavedState::MASK_CHANGED, filter_measures_->changed()));
}

void Trainer::SetProgress(const SavedState& saved) {
  const SavedState::Position& position = saved.position();
  epoch_ = position.epoch();
  iteration_ = position.iteration();
  total_epochs_read_ = saved.total_epochs_read();
  optimizer_->set_steps(position.optimizer_started());
  EpochSums::Values values;
  values.loss = saved.sums().loss();
  values.images = position.images();
  values.correct = position.correct();
  values.mask_changes = position.mask_changes();
  values.returned_filters = position.returned_filters();
  sums_.Set(values);
  epoch_so_far_ = EpochRecord();
  epoch_so_far_.measures.set_mask_updates(position.mask_updates());
  epoch_so_far_.measures.set_learning_rate(saved.sums().learning_rate());
  epoch_so_far_.measures.set_penalty(saved.sums().penalty());
  epoch_so_far_.measures.set_penalty_gradient_ratio(saved.sums().penalty_gradient_ratio());
}

}  // namespace prunelab
