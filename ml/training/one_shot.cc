#include "ml/training/one_shot.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/status_macros.h"
#include "ml/data/batches.h"
#include "ml/execution/mask_updates.h"
#include "ml/execution/model_probe.h"
#include "ml/execution/plan.h"
#include "ml/execution/start_masks.h"
#include "ml/pruning/field_options.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/training/prunable_layers.h"

namespace prunelab {
namespace {

// The gradient of the mean loss for each parameter; for a convolution's weight, that of the dense one at the masked
// point.
absl::StatusOr<std::vector<at::Tensor>> Gradients(Model& model, const Dataset& data, int64_t images) {
  constexpr int64_t kBatch = 64;
  const int64_t count = std::min(images, data.train.size());
  std::vector<at::Tensor> parameters, gradients;
  for (const NamedTensor& parameter : model.parameters()) {
    parameters.push_back(parameter.tensor);
    gradients.push_back(at::zeros_like(parameter.tensor.detach()));
  }
  ReferencePlan plan;
  EvaluationBatches batches(data.train, data.normalization, count, kBatch, model.dtype(), model.device());
  for (int64_t k = 0; k < batches.batches(); ++k) {
    PRUNELAB_ASSIGN_OR_RETURN(const Batch batch, batches.Get(k));
    const at::Tensor logits = plan.Forward(model, batch.images, {}).logits;
    const at::Tensor loss = at::cross_entropy_loss(logits, batch.labels, {}, at::Reduction::Sum) / count;
    const std::vector<at::Tensor> of_batch =
        torch::autograd::grad({loss}, parameters, {}, std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (of_batch[i].defined()) gradients[i] += of_batch[i];
    }
  }
  return gradients;
}

// Whether the field is set to another value than its default.
bool IsSetToAnother(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (field.is_repeated()) return reflection.FieldSize(message, &field) > 0;
  if (!reflection.HasField(message, &field)) return false;
  switch (field.cpp_type()) {
    case google::protobuf::FieldDescriptor::CPPTYPE_INT64:
      return reflection.GetInt64(message, &field) != field.default_value_int64();
    case google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, &field) != field.default_value_double();
    case google::protobuf::FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) != field.default_value_bool();
    case google::protobuf::FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetEnum(message, &field)->number() != field.default_value_enum()->number();
    default:
      return true;
  }
}

// The part of a strategy's parameters that only a training reads, taken out of them.
struct OfTraining {
  std::vector<std::string> set;  // paths of fields with another value than their default
  bool as_here = true;           // all of these have the value that is used here
};

void TakeOutTraining(google::protobuf::Message& message, const std::string& prefix, bool defaults, OfTraining& found) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const std::string path = absl::StrCat(prefix, field.name());
    if (!field.options().GetExtension(training_only)) {
      const bool nested = field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE;
      if (nested && !field.is_repeated() && reflection.HasField(message, &field)) {
        TakeOutTraining(*reflection.MutableMessage(&message, &field), absl::StrCat(path, "."), defaults, found);
      }
      continue;
    }
    const bool has_value_here = field.options().HasExtension(without_training);
    const int64_t here = field.options().GetExtension(without_training);
    if (IsSetToAnother(message, field)) {
      found.set.push_back(path);
      found.as_here = found.as_here && has_value_here && reflection.GetInt64(message, &field) == here;
    }
    reflection.ClearField(&message, &field);
    if (has_value_here && !defaults) reflection.SetInt64(&message, &field, here);
  }
}

// The strategy's parameters as PruneOnce asks it.
absl::StatusOr<google::protobuf::Any> WithoutTraining(const google::protobuf::Any& pruning, const PruningSetup& setup) {
  const absl::StatusOr<std::unique_ptr<google::protobuf::Message>> unpacked = UnpackAny(pruning);
  if (!unpacked.ok()) return pruning;  // CreatePruningStrategy says what it is
  const auto packed = [&](bool defaults, OfTraining& found) {
    const std::unique_ptr<google::protobuf::Message> message((*unpacked)->New());
    message->CopyFrom(**unpacked);
    TakeOutTraining(*message, "", defaults, found);
    google::protobuf::Any any;
    any.PackFrom(*message);
    return any;
  };
  OfTraining found, unused;
  const google::protobuf::Any parameters = packed(/*defaults=*/false, found);
  // A strategy that ranks by gradients requires an epoch before which there were gradients.
  const bool asked_for = found.as_here && !CreatePruningStrategy(packed(/*defaults=*/true, unused), setup).ok();
  if (found.set.empty() || asked_for) return parameters;
  const bool one = found.set.size() == 1;
  return absl::InvalidArgumentError(absl::StrCat(
      absl::StrJoin(found.set, ", "), one ? " is" : " are", " set, but only a training reads ", one ? "it" : "them",
      ": here the network is pruned once, without training; leave ", one ? "it" : "them", " out"));
}

// The training that a strategy is made to believe in: each step asks it for masks, and no step changes a weight.
class ImaginedTraining {
 public:
  ImaginedTraining(Model& model, PruningStrategy& strategy, const Dataset* data, int64_t calibration_images)
      : model_(model),
        strategy_(strategy),
        data_(data),
        calibration_images_(calibration_images),
        start_(model),
        layers_(model) {}

  absl::Status Run() {
    for (int64_t epoch = 0; epoch < kOneShotEpochs; ++epoch) {
      StepPosition position;
      position.epoch = epoch;
      position.epochs = kOneShotEpochs;
      PRUNELAB_RETURN_IF_ERROR(Differentiate());
      PRUNELAB_RETURN_IF_ERROR(Apply(strategy_.Update(position, layers_.Of(OfWeights()))));
      PRUNELAB_RETURN_IF_ERROR(Differentiate());
      strategy_.Observe(position, layers_.Observed(OfWeights(), gradients_, strategy_));
      PRUNELAB_RETURN_IF_ERROR(Apply(strategy_.EndEpoch(position, layers_.Of(OfWeights()))));
    }
    return absl::OkStatus();
  }

  // Whether the strategy's own masks turn anything off.
  bool masked() const {
    return std::any_of(own_.begin(), own_.end(),
                       [](const auto& entry) { return entry.second.eq(0).any().template item<bool>(); });
  }

  // How many weights of convolutions came in masked.
  int64_t masked_before() const {
    int64_t off = 0;
    for (const auto& [node, mask] : start_.masks()) {
      off += mask.expand(model_.Get(absl::StrCat(node, ".weight")).sizes()).eq(0).sum().item<int64_t>();
    }
    return off;
  }

 private:
  // Where there are no gradients under the current masks and the strategy wants them.
  absl::Status Differentiate() {
    if (!strategy_.needs_gradients() || !gradients_.empty()) return absl::OkStatus();
    PRUNELAB_ASSIGN_OR_RETURN(gradients_, Gradients(model_, *data_, calibration_images_));
    return absl::OkStatus();
  }

  std::map<std::string, at::Tensor> OfWeights() const {
    std::map<std::string, at::Tensor> by_node;
    if (gradients_.empty()) return by_node;
    std::map<std::string, std::string> nodes;  // by the weight's name
    for (const ConvInfo& conv : model_.info().convs()) nodes[absl::StrCat(conv.node, ".weight")] = conv.node;
    for (size_t i = 0; i < gradients_.size(); ++i) {
      const auto node = nodes.find(model_.parameters()[i].name);
      if (node != nodes.end()) by_node[node->second] = gradients_[i];
    }
    return by_node;
  }

  absl::Status Apply(const absl::StatusOr<std::optional<MaskUpdate>>& update) {
    PRUNELAB_RETURN_IF_ERROR(update.status());
    if (!*update) return absl::OkStatus();
    MaskUpdate kept = **update;
    // A weight keeps the value that it would have if it came back.
    kept.weights = MaskUpdate::Weights::kKeep;
    ApplyMaskUpdate(kept, start_, model_);
    gradients_.clear();
    for (const auto& [node, mask] : kept.masks) own_[node] = mask;
    return absl::OkStatus();
  }

  Model& model_;
  PruningStrategy& strategy_;
  const Dataset* const data_;
  const int64_t calibration_images_;
  const StartMasks start_;
  const PrunableLayers layers_;
  std::vector<at::Tensor> gradients_;      // by parameter, under the current masks; empty if not computed yet
  std::map<std::string, at::Tensor> own_;  // the masks that the strategy gave last
};

}  // namespace

absl::Status PruneOnce(Model& model, const google::protobuf::Any& pruning, uint64_t seed, const Dataset* data,
                       int64_t calibration_images, bool* masks_nothing) {
  PruningSetup setup;
  setup.network = &model.info();
  setup.seed = seed;
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any parameters, WithoutTraining(pruning, setup));
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<PruningStrategy> strategy, CreatePruningStrategy(parameters, setup));
  if (strategy->needs_gradients() && data == nullptr) {
    return absl::InvalidArgumentError("ranks by gradients; give calibration data to compute them on");
  }
  // Only of the calibration images, like the gradients.
  LabelledImages probed;
  if (data != nullptr) {
    const int64_t count = std::min(calibration_images, data->train.size());
    probed = SelectImages(data->train, at::arange(count));
  }
  const ModelProbe probe(model, data != nullptr ? &probed : nullptr, data != nullptr ? &data->normalization : nullptr,
                         seed);
  ImaginedTraining training(model, *strategy, data, calibration_images);
  if (strategy->needs_probe()) strategy->Attach(probe);
  PRUNELAB_RETURN_IF_ERROR(training.Run());
  if (masks_nothing != nullptr) *masks_nothing = !training.masked();
  if (training.masked() || masks_nothing != nullptr) return absl::OkStatus();
  if (const int64_t before = training.masked_before(); before > 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "masked nothing more: ", before, " of ", model.info().ConvWeightCount(),
        " weights of the convolutions came in masked, which is all that it asks for; give it a higher rate"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("masked nothing in ", kOneShotEpochs, " epochs of one step; give it a rate"));
}

absl::StatusOr<Model> PrunedOnce(const Model& model, const google::protobuf::Any& pruning, uint64_t seed,
                                 const Dataset* data, int64_t calibration_images, bool* masks_nothing) {
  std::map<std::string, at::Tensor> own;
  for (const NamedTensor& parameter : model.parameters()) {
    own[parameter.name] = parameter.tensor.detach().clone().requires_grad_(parameter.tensor.requires_grad());
  }
  Model pruned = model.With(own);
  PRUNELAB_RETURN_IF_ERROR(PruneOnce(pruned, pruning, seed, data, calibration_images, masks_nothing));
  return pruned;
}

}  // namespace prunelab
