#include "ml/kernels/filter_importance.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "ml/base/check.h"
#include "ml/kernels/filter_importance_cpu.h"
#include "ml/kernels/filter_importance_on_device.h"

namespace prunelab {
namespace {

// [out, weights of a filter], contiguous, in the weight's own order of memory where its filters lie one after the
// other.
at::Tensor RowsInMemoryOrder(const at::Tensor& weight) {
  const int64_t filters = weight.size(0), size = weight.numel() / filters;
  if (weight.is_non_overlapping_and_dense() && weight.stride(0) == size) {
    return weight.as_strided({filters, size}, {size, 1});
  }
  return weight.contiguous().view({filters, size});
}

}  // namespace

at::Tensor FilterImportance(const at::Tensor& weight, FilterImportanceKind kind) {
  PRUNELAB_CHECK(weight.dim() >= 1 && weight.numel() > 0) << "no weights: shape " << weight.sizes();
  const at::NoGradGuard no_gradients;
  const at::Tensor rows = RowsInMemoryOrder(weight.detach());
  const at::Tensor importance = at::empty({rows.size(0)}, rows.options());
  if (!rows.is_cpu()) {
    FilterImportanceOnDevice(rows, kind, importance);
    return importance;
  }
  AT_DISPATCH_FLOATING_TYPES(rows.scalar_type(), "FilterImportance", [&] {
    FilterImportanceCpu(rows.const_data_ptr<scalar_t>(), rows.size(0), rows.size(1), kind,
                        importance.mutable_data_ptr<scalar_t>());
  });
  return importance;
}

at::Tensor ThresholdMask(const at::Tensor& importance, const at::Tensor& threshold) {
  PRUNELAB_CHECK(threshold.numel() == 1) << "a threshold has one element, not " << threshold.numel();
  PRUNELAB_CHECK(threshold.scalar_type() == importance.scalar_type() && threshold.device() == importance.device())
      << "importance in " << importance.scalar_type() << " on " << importance.device() << ", threshold in "
      << threshold.scalar_type() << " on " << threshold.device();
  const at::NoGradGuard no_gradients;
  const at::Tensor values = importance.detach().contiguous();
  const at::Tensor mask = at::empty(values.sizes(), values.options());
  if (!values.is_cpu()) {
    ThresholdMaskOnDevice(values, threshold.detach(), mask);
    return mask;
  }
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "ThresholdMask", [&] {
    ThresholdMaskCpu(values.const_data_ptr<scalar_t>(), values.numel(), threshold.const_data_ptr<scalar_t>(),
                     mask.mutable_data_ptr<scalar_t>());
  });
  return mask;
}

}  // namespace prunelab
