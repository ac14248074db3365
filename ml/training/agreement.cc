#include "ml/training/agreement.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "ml/base/status_macros.h"
#include "ml/data/batches.h"
#include "ml/execution/device_arithmetic.h"
#include "ml/training/evaluate.h"

namespace prunelab {
namespace {

Agreement Compare(const at::Tensor& logits_a, const at::Tensor& logits_b, double tolerance) {
  const at::Tensor a = logits_a.to(at::kDouble), b = logits_b.to(at::kDouble);
  const double largest = a.abs().max().item<double>();
  Agreement agreement;
  agreement.images = a.size(0);
  agreement.not_finite = CountNotFinite(at::cat({a, b}, 1)).item<int64_t>();
  const double difference = (a - b).abs().max().item<double>();
  agreement.largest_difference = largest > 0 ? difference / largest : difference;
  const at::Tensor differ = a.argmax(1) != b.argmax(1);
  agreement.differing_predictions = differ.sum().item<int64_t>();
  if (a.size(1) < 2) return agreement;
  const at::Tensor best = std::get<0>(a.topk(2, 1));
  const at::Tensor gap = best.select(1, 0) - best.select(1, 1);
  agreement.unexplained_predictions = (differ & (gap > tolerance * largest)).sum().item<int64_t>();
  return agreement;
}

}  // namespace

Agreement CompareOnImages(Model& a, Model& b, Plan& plan, const at::Tensor& images, double tolerance) {
  const DeviceArithmetic arithmetic(DeviceArithmetic::Float32::kIeee);
  const at::NoGradGuard no_gradients;
  const ForwardResult of_a = plan.Forward(a, images, {}), of_b = plan.Forward(b, images, {});
  Agreement agreement = Compare(of_a.logits, of_b.logits, tolerance);
  for (size_t k = 1; k < of_a.results.size(); ++k) {
    const Agreement further = Compare(of_a.results[k], of_b.results[k], tolerance);
    agreement.largest_difference = std::max(agreement.largest_difference, further.largest_difference);
    agreement.not_finite = std::max(agreement.not_finite, further.not_finite);
  }
  return agreement;
}

absl::StatusOr<Agreement> CompareOnData(Model& a, Model& b, Plan& plan, const LabelledImages& data,
                                        const Normalization& normalization, int64_t batch_size, int64_t limit,
                                        double tolerance) {
  const DeviceArithmetic arithmetic(DeviceArithmetic::Float32::kIeee);
  const at::NoGradGuard no_gradients;
  const int64_t count = std::min(limit, data.size());
  std::vector<at::Tensor> of_a, of_b;
  int64_t right = 0;
  EvaluationBatches batches(data, normalization, count, batch_size, a.dtype(), a.device());
  for (int64_t i = 0; i < batches.batches(); ++i) {
    PRUNELAB_ASSIGN_OR_RETURN(const Batch batch, batches.Get(i));
    of_a.push_back(plan.Forward(a, batch.images, {}).logits);
    of_b.push_back(plan.Forward(b, batch.images, {}).logits);
    right += (LabelRanks(of_b.back(), batch.labels) < 1).sum().item<int64_t>();
  }
  Agreement agreement = Compare(at::cat(of_a), at::cat(of_b), tolerance);
  agreement.top1_of_b = right / static_cast<double>(count);
  return agreement;
}

}  // namespace prunelab
