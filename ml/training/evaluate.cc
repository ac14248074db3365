#include "ml/training/evaluate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/data/batches.h"
#include "ml/execution/device_arithmetic.h"

namespace prunelab {

std::string NotFiniteText(int64_t not_finite, int64_t images) {
  return absl::StrCat("the logits of ", not_finite, " of ", images, images == 1 ? " image" : " images",
                      " are not finite");
}

std::string EvaluationFault(const Evaluation& evaluation) {
  if (evaluation.not_finite > 0) return NotFiniteText(evaluation.not_finite, evaluation.images);
  if (std::isfinite(evaluation.loss)) return "";
  return absl::StrCat("the loss of ", evaluation.images, " images is ", evaluation.loss,
                      ", though their logits are finite");
}

at::Tensor CountNotFinite(const at::Tensor& logits) { return at::isfinite(logits).all(1).logical_not().sum(); }

at::Tensor LabelRanks(const at::Tensor& logits, const at::Tensor& labels) {
  const int64_t classes = logits.size(1);
  const at::Tensor own = logits.gather(1, labels.unsqueeze(1));
  const at::Tensor index = at::arange(classes, labels.options()).unsqueeze(0);
  const at::Tensor before = (logits > own) | ((logits == own) & (index < labels.unsqueeze(1))) | logits.isnan();
  return at::where(own.squeeze(1).isnan(), at::full_like(labels, classes), before.sum(1));
}

absl::StatusOr<Evaluation> Evaluate(Model& model, Plan& plan, const LabelledImages& data,
                                    const Normalization& normalization, int64_t batch_size, Ranks* ranks) {
  const DeviceArithmetic arithmetic(DeviceArithmetic::Float32::kIeee);
  const at::NoGradGuard no_gradients;
  ForwardOptions options;
  options.mode = Mode::kEvaluate;
  at::Tensor loss = at::zeros({}, at::TensorOptions(model.device()).dtype(at::kDouble));
  at::Tensor top1 = at::zeros({}, at::TensorOptions(model.device()).dtype(at::kLong));
  at::Tensor top5 = at::zeros_like(top1), not_finite = at::zeros_like(top1);
  EvaluationBatches batches(data, normalization, data.size(), batch_size, model.dtype(), model.device(),
                            ranks != nullptr ? ranks->share() : Share());
  for (int64_t i = 0; i < batches.batches(); ++i) {
    PRUNELAB_ASSIGN_OR_RETURN(const Batch batch, batches.Get(i));
    const at::Tensor logits = plan.Forward(model, batch.images, options).logits;
    loss += at::cross_entropy_loss(logits, batch.labels, {}, at::Reduction::Sum).to(at::kDouble);
    const at::Tensor ranks = LabelRanks(logits, batch.labels);
    top1 += (ranks < 1).sum();
    top5 += (ranks < std::min<int64_t>(5, logits.size(1))).sum();
    not_finite += CountNotFinite(logits);
  }
  if (ranks != nullptr) {
    for (const at::Tensor* sum : {&loss, &top1, &top5, &not_finite}) ranks->Sum(*sum);
  }
  const double count = static_cast<double>(data.size());
  return Evaluation{loss.item<double>() / count, top1.item<int64_t>() / count, top5.item<int64_t>() / count,
                    data.size(), not_finite.item<int64_t>()};
}

}  // namespace prunelab
