#include "experiments/runs/removal.h"

#include <ATen/ATen.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/config/phases.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/coupled.h"
#include "ml/compression/goal.h"
#include "ml/compression/group_ranking_config.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/latency.h"
#include "ml/execution/model_probe.h"
#include "ml/execution/plan.h"
#include "ml/network/compactors.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/regularizers/regularizer.h"
#include "ml/training/agreement.h"
#include "ml/training/evaluate.h"
#include "ml/training/schedule.h"
#include "ml/training/trainer.h"
#include "ml/training/validation_images.h"

namespace prunelab {
namespace {

// The removed network, trained further without masks. `trained`: what it was before.
absl::StatusOr<Model> FineTuned(const RemovalRequest& request, const NetworkInfo& trained, const Model& removed) {
  TrainingSetup setup;
  setup.network = removed.info();
  setup.dataset = request.dataset;
  const RunPhase last = PhasesOf(*request.config).back();
  setup.config = last.training;
  setup.config.set_epochs(request.config->compression().fine_tune_epochs());
  SetBaseLearningRate(request.learning_rate, setup.config);
  setup.config.clear_schedule();
  setup.config.mutable_schedule()->mutable_constant();
  const Regularization& regularization = last.regularization;
  // What a weight that grows has become.
  setup.penalty_weight = regularization.has_growth() ? regularization.growth().until() : regularization.weight();
  setup.seed = static_cast<uint64_t>(request.seed);
  setup.device = removed.device();
  setup.initial_weights = ModelToSafetensors(removed);
  setup.initial_weights_name = kRemovedFile;
  setup.teacher = request.teacher;
  setup.stop = request.stop;
  setup.on_warning = request.on_warning;
  google::protobuf::Any no_pruning;
  no_pruning.set_type_url("type.googleapis.com/prunelab.NoPruning");
  PruningSetup pruning;
  pruning.network = &setup.network;
  PRUNELAB_ASSIGN_OR_RETURN(setup.strategy, CreatePruningStrategy(no_pruning, pruning));
  absl::StatusOr<std::unique_ptr<Regularizer>> regularizer =
      CreateRegularizer(regularization.regularizer(), setup.network);
  if (!regularizer.ok() && HasCompactors(trained) &&
      !CreateRegularizer(regularization.regularizer(), WithoutCompactors(trained)).ok()) {
    // A penalty that names compactors, which have been merged.
    if (request.on_warning) {
      request.on_warning(
          absl::StrCat("the removed network is trained further without the regularizer, whose layers "
                       "have been merged: ",
                       regularizer.status().message()));
    }
    google::protobuf::Any none;
    none.set_type_url("type.googleapis.com/prunelab.NoRegularizer");
    regularizer = CreateRegularizer(none, setup.network);
    setup.penalty_weight = 0;
  }
  PRUNELAB_RETURN_IF_ERROR(regularizer.status());
  setup.regularizer = *std::move(regularizer);
  if (setup.regularizer->prepares_removal()) setup.penalty_weight = 0;
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer, Trainer::Create(std::move(setup)));
  while (trainer->epoch() < request.config->compression().fine_tune_epochs()) {
    PRUNELAB_ASSIGN_OR_RETURN(const EpochRecord record, trainer->RunEpoch());
    if (record.diverged) {
      return absl::DataLossError(absl::StrCat("fine-tuning the removed network diverged in its epoch ", record.epoch,
                                              ": ", record.divergence));
    }
  }
  return trainer->result();
}

// Latencies in seconds, at batch 1 and 64, of the dense and of the removed network, both prepared for inference.
absl::Status WriteLatencies(Model dense, Model removed, const std::string& folder) {
  constexpr int64_t kRuns = 10;
  constexpr double kSeconds = 2;
  nlohmann::ordered_json json;
  for (const int64_t batch : {1, 64}) {
    const std::vector<Latency> latencies = MeasureLatencies({&dense, &removed}, batch, kRuns, kSeconds);
    for (const auto& [name, latency] : {std::pair("dense", latencies[0]), std::pair("removed", latencies[1])}) {
      json[absl::StrCat("latency_", batch, "_", name)] = latency.median;
      json[absl::StrCat("latency_", batch, "_", name, "_spread")] = latency.spread();
    }
  }
  return WriteFileAtomically(JoinPath(folder, kLatencyFile), absl::StrCat(WithChecksum(json.dump()), "\n"));
}

// `count` of the images that the run trains on, in the dtype of the network.
absl::StatusOr<ProbeBatch> ImagesToRankBy(const RemovalImages& data, int64_t count, int64_t seed,
                                          const WeightedNetwork& network) {
  PRUNELAB_ASSIGN_OR_RETURN(const ValidationSplit split, ValidationSplitOf(*data.training, *data.dataset));
  const LabelledImages& train = split.train.size() > 0 ? split.train : data.dataset->train;
  const Model model = ToModel(network, at::kCPU);
  return ModelProbe(model, &train, &data.dataset->normalization, static_cast<uint64_t>(seed)).TrainingImages(0, count);
}

}  // namespace

absl::Status RemoveAsSaid(const Compression& compression, const RemovalImages& data, int64_t seed,
                          WeightedNetwork& network) {
  if (compression.mode() == Compression::EXACT) {
    Compress(network, {});
    return absl::OkStatus();
  }
  if (!compression.has_target() && !compression.has_rate()) return RemoveCoupled(network, {}).status();
  const GroupRanking& ranking = compression.groups();
  std::optional<ProbeBatch> images;
  if (LooksAtImages(ranking)) {
    PRUNELAB_ASSIGN_OR_RETURN(images, ImagesToRankBy(data, ranking.images(), seed, network));
  }
  const WeightedNetwork dense = network;
  absl::StatusOr<RankedGroups> ranked = RankedGroups::Create(dense, ranking, static_cast<uint64_t>(seed), images);
  if (!ranked.ok()) return InField("groups", ranked.status());
  if (compression.has_rate()) {
    PRUNELAB_ASSIGN_OR_RETURN(network, ranked->Without(compression.rate()));
    return absl::OkStatus();
  }
  const RemovalAt removal = [&](const Rates& rates) { return ranked->Without(rates.rate); };
  absl::StatusOr<MetGoal> met = MeetGoal(compression.target(), dense, /*layers=*/0, removal, nullptr);
  if (!met.ok()) return InField("target", met.status());
  network = std::move(met->removed);
  return absl::OkStatus();
}

absl::StatusOr<Safetensors> StartOf(const StartFrom& start, const RemovalImages& data, int64_t seed,
                                    const std::string& folder) {
  const std::string removed = JoinPath(folder, kRemovedFile);
  const std::string path = PathExists(removed) ? removed : JoinPath(folder, "last.safetensors");
  if (!start.has_removal()) return ReadSafetensors(path);
  PRUNELAB_ASSIGN_OR_RETURN(const Model model, LoadModel(path, at::kFloat, at::kCPU));
  absl::StatusOr<WeightedNetwork> network = ToWeightedNetwork(model);
  if (!network.ok()) return WithPrefix(path, network.status());
  PRUNELAB_RETURN_IF_ERROR(InField("start_from.removal", RemoveAsSaid(start.removal(), data, seed, *network)));
  return ModelToSafetensors(ToModel(*network, at::kCPU));
}

absl::Status RemoveAfterTraining(const RemovalRequest& request, Model& trained, const std::string& folder,
                                 RunResult& result) {
  const Compression& compression = request.config->compression();
  PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork network, ToWeightedNetwork(trained));
  Model dense = ToInferenceModel(network, trained.device());
  const RemovalImages ranked_by = {request.dataset, &request.config->training()};
  PRUNELAB_RETURN_IF_ERROR(InField("compression", RemoveAsSaid(compression, ranked_by, request.seed, network)));
  Model removed = ToModel(network, trained.device());
  result.measures.set_physical_parameters(removed.info().ParameterCount() + removed.info().StoredConstantCount());
  result.measures.set_physical_macs(removed.info().MacCount());
  const Dataset& data = *request.dataset;
  const Training& training = request.config->training();
  const bool test = training.test_data();
  ValidationSplit split;
  if (!test) {
    PRUNELAB_ASSIGN_OR_RETURN(split, ValidationSplitOf(training, data));
  }
  const LabelledImages& images = test ? data.test : split.validation;
  const std::string part = test ? "test data" : "validation data";
  const int64_t batch = training.evaluation_batch_size();
  ReferencePlan plan;
  const auto top1 = [&](Model& model) -> absl::StatusOr<double> {
    PRUNELAB_ASSIGN_OR_RETURN(const Evaluation evaluation, Evaluate(model, plan, images, data.normalization, batch));
    const std::string fault = EvaluationFault(evaluation);
    if (!fault.empty()) return absl::DataLossError(absl::StrCat("after removal, ", part, ": ", fault));
    return evaluation.top1;
  };
  double removed_top1 = 0;
  if (compression.mode() == Compression::EXACT) {
    PRUNELAB_ASSIGN_OR_RETURN(
        const Agreement agreement,
        CompareOnData(trained, removed, plan, images, data.normalization, batch, images.size(), kRemovalTolerance));
    if (agreement.not_finite > 0) {
      return absl::DataLossError(
          absl::StrCat("after removal, ", part, ": ", NotFiniteText(agreement.not_finite, agreement.images)));
    }
    if (agreement.unexplained_predictions > 0) {
      return absl::InternalError(absl::StrFormat(
          "exact removal changed %d of %d predictions that rounding does not explain (largest difference of a logit / "
          "largest logit: %.2e)",
          agreement.unexplained_predictions, agreement.images, agreement.largest_difference));
    }
    removed_top1 = agreement.top1_of_b;
  } else {
    PRUNELAB_ASSIGN_OR_RETURN(removed_top1, top1(removed));
  }
  if (test) {
    result.measures.set_removed_test_top1(removed_top1);
  } else {
    result.measures.set_removed_validation_top1(removed_top1);
  }
  if (compression.fine_tune_epochs() > 0) {
    PRUNELAB_ASSIGN_OR_RETURN(removed, FineTuned(request, trained.info(), removed));
    PRUNELAB_ASSIGN_OR_RETURN(const double fine_tuned_top1, top1(removed));
    if (test) {
      result.measures.set_fine_tuned_test_top1(fine_tuned_top1);
    } else {
      result.measures.set_fine_tuned_validation_top1(fine_tuned_top1);
    }
  }
  PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(JoinPath(folder, kRemovedFile), ModelToSafetensors(removed)));
  PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork last, ToWeightedNetwork(removed));
  return WriteLatencies(std::move(dense), ToInferenceModel(last, removed.device()), folder);
}

absl::StatusOr<NetworkInfo> RemovedShape(const std::string& folder) {
  const std::string removed = JoinPath(folder, kRemovedFile);
  if (PathExists(removed)) {
    PRUNELAB_ASSIGN_OR_RETURN(const Model model, LoadModel(removed, at::kFloat, at::kCPU));
    return model.info();
  }
  PRUNELAB_ASSIGN_OR_RETURN(const Model model, LoadModel(JoinPath(folder, "last.safetensors"), at::kFloat, at::kCPU));
  PRUNELAB_ASSIGN_OR_RETURN(const CompressedModel compressed, CompressModel(model, {}));
  return compressed.model.info();
}

}  // namespace prunelab
