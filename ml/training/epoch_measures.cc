#include "ml/training/epoch_measures.h"

#include <ATen/ATen.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/compression/compressed_model.h"
#include "ml/pruning/mask_measures.h"
#include "ml/regularizers/correlation.h"
#include "ml/training/penalty.h"

namespace prunelab {

EpochSums::EpochSums(at::Device device)
    : loss_(at::zeros({}, at::TensorOptions(device).dtype(at::kDouble))),
      correct_(at::zeros({}, at::TensorOptions(device).dtype(at::kLong))),
      mask_changes_(at::zeros({2}, at::TensorOptions(device).dtype(at::kLong))) {}

void EpochSums::AddBatch(const at::Tensor& loss, const at::Tensor& logits, const at::Tensor& labels) {
  loss_ += loss.to(at::kDouble) * labels.size(0);
  correct_ += (LabelRanks(logits, labels) < 1).sum();
}

void EpochSums::Take(EpochSums& step) {
  loss_ += step.loss_;
  correct_ += step.correct_;
  step.loss_.zero_();
  step.correct_.zero_();
}

void EpochSums::AddMaskChanges(const Model& model, const std::map<std::string, at::Tensor>& before) {
  if (!model.masks().empty()) mask_changes_ += CountMaskChanges(model.info(), before, model.masks());
}

EpochSums::Values EpochSums::Get() const {
  const at::Tensor mask_changes = mask_changes_.cpu();
  Values values;
  values.loss = loss_.item<double>();
  values.images = images_;
  values.correct = correct_.item<int64_t>();
  values.mask_changes = mask_changes[0].item<int64_t>();
  values.returned_filters = mask_changes[1].item<int64_t>();
  return values;
}

void EpochSums::Set(const Values& values) {
  loss_.fill_(values.loss);
  images_ = values.images;
  correct_.fill_(values.correct);
  mask_changes_.copy_(at::tensor({values.mask_changes, values.returned_filters}, at::kLong));
}

void EpochSums::Into(Measures& measures) {
  const Values values = Get();
  const auto images = static_cast<double>(values.images);
  measures.set_train_loss(values.loss / images);
  measures.set_train_top1(static_cast<double>(values.correct) / images);
  measures.set_mask_changes(values.mask_changes);
  measures.set_returned_filters(values.returned_filters);
  Set({});
}

void MeasureNetwork(const Model& model, Measures& measures) {
  const MaskMeasures masks = MeasureMasks(model.info(), model.masks());
  measures.set_filter_sparsity(masks.filter_sparsity);
  measures.set_weight_sparsity(masks.weight_sparsity);
  measures.set_paper_sparsity(masks.paper_sparsity);
  measures.mutable_live_filters()->insert(masks.live_filters.begin(), masks.live_filters.end());
  if (const auto rho = MeanAbsRho(RegularizedLayers(model))) measures.set_mean_abs_rho(*rho);
  const RemovedSize removed = SizeAfterRemoval(model);
  measures.set_live_parameters(removed.parameters);
  measures.set_live_macs(removed.macs);
}

void SetTest(const Evaluation& evaluation, Measures& measures) {
  measures.set_test_loss(evaluation.loss);
  measures.set_test_top1(evaluation.top1);
  measures.set_test_top5(evaluation.top5);
}

void SetValidation(const Evaluation& evaluation, Measures& measures) {
  measures.set_validation_loss(evaluation.loss);
  measures.set_validation_top1(evaluation.top1);
}

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

}  // namespace prunelab
