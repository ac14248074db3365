#include "ml/base/check.h"
#include "ml/kernels/device_conv3x3/on_device.h"

namespace prunelab {

void WeightGradientOnDevice(const WeightGradientGrid& grid, const at::Tensor& x, const at::Tensor& dy,
                            const at::Tensor& partial, const at::Tensor& dweight) {
  PRUNELAB_CHECK(false) << "a tensor on " << x.device() << " in a program that was built without --config=cuda";
}

}  // namespace prunelab
