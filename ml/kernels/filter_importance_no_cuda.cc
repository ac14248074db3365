#include "ml/base/check.h"
#include "ml/kernels/filter_importance_on_device.h"

namespace prunelab {

bool HasCudaKernels() { return false; }

void FilterImportanceOnDevice(const at::Tensor& rows, FilterImportanceKind kind, const at::Tensor& importance) {
  PRUNELAB_CHECK(false) << "a tensor on " << rows.device() << " in a program that was built without --config=cuda";
}

void ThresholdMaskOnDevice(const at::Tensor& importance, const at::Tensor& threshold, const at::Tensor& mask) {
  PRUNELAB_CHECK(false) << "a tensor on " << importance.device()
                        << " in a program that was built without --config=cuda";
}

}  // namespace prunelab
