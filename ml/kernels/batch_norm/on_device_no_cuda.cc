#include "ml/base/check.h"
#include "ml/kernels/batch_norm/on_device.h"

namespace prunelab {
namespace {

void Refuse(const at::Tensor& y) {
  PRUNELAB_CHECK(false) << "a tensor on " << y.device() << " in a program that was built without --config=cuda";
}

}  // namespace

void FusedBatchNormTrainingOnDevice(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend,
                                    bool relu, const FusedBatchNormResult& result) {
  Refuse(y);
}

void FusedBatchNormEvaluationOnDevice(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend,
                                      bool relu, const at::Tensor& out) {
  Refuse(y);
}

void FusedBatchNormBackwardOnDevice(const FusedBatchNormResult& forward, const at::Tensor& y, bool relu,
                                    const at::Tensor& gradient, const FusedBatchNormGradients& gradients) {
  Refuse(y);
}

}  // namespace prunelab
