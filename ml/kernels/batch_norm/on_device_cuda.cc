#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <initializer_list>

#include "ml/kernels/batch_norm/device_kernels.h"
#include "ml/kernels/batch_norm/on_device.h"

namespace prunelab {
namespace {

template <typename T>
const T* Data(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}
template <typename T>
T* MutableData(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
}

// For y [N, C, H, W]; `tensors` are all that are read or written by threads in packs of neighbouring channels.
template <typename T>
BatchNormGrid GridOf(const at::Tensor& y, std::initializer_list<at::Tensor> tensors) {
  const int64_t channels = y.size(1);
  bool aligned = channels % kBatchNormVector<T> == 0;
  for (const at::Tensor& tensor : tensors) {
    aligned = aligned && (!tensor.defined() || reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 16 == 0);
  }
  return MakeBatchNormGrid(y.numel() / channels, channels, aligned ? kBatchNormVector<T> : 1);
}

at::Tensor Partial(const BatchNormGrid& grid, const at::Tensor& y) {
  return at::empty({grid.partial_size()}, y.options().dtype(at::kDouble));
}

template <typename T>
BatchNormParameters<T> ParametersOf(const BatchNormTensors& norm) {
  BatchNormParameters<T> parameters;
  parameters.gamma = Data<T>(norm.gamma);
  parameters.beta = Data<T>(norm.beta);
  parameters.running_mean = MutableData<T>(norm.running_mean);
  parameters.running_var = MutableData<T>(norm.running_var);
  parameters.batches = MutableData<int64_t>(norm.num_batches_tracked);
  parameters.epsilon = norm.epsilon;
  parameters.momentum = norm.momentum;
  return parameters;
}

template <typename T>
BatchNormSaved<T> SavedOf(const FusedBatchNormResult& result) {
  return {MutableData<T>(result.scale), MutableData<T>(result.shift), MutableData<T>(result.mean),
          MutableData<double>(result.inverse)};
}

// Throws as LibTorch's own operators do: a step that cannot be captured is then launched as it is, and a run whose GPU
// fails ends with an error of its own.
void CheckLaunched(const char* error) {
  TORCH_CHECK(error == nullptr, "a batch norm's kernel was not launched: ", error);
}

}  // namespace

void FusedBatchNormTrainingOnDevice(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend,
                                    bool relu, const FusedBatchNormResult& result) {
  const c10::cuda::CUDAGuard guard(y.device());
  AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "FusedBatchNormTraining", [&] {
    const BatchNormGrid grid = GridOf<scalar_t>(y, {y, addend, result.out, result.scale, result.shift, result.mean});
    const at::Tensor partial = Partial(grid, y);
    CheckLaunched(LaunchBatchNormTraining<scalar_t>(grid, Data<scalar_t>(y), ParametersOf<scalar_t>(norm),
                                                    Data<scalar_t>(addend), relu, MutableData<double>(partial),
                                                    SavedOf<scalar_t>(result), MutableData<scalar_t>(result.out),
                                                    c10::cuda::getCurrentCUDAStream().stream()));
  });
}

void FusedBatchNormEvaluationOnDevice(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend,
                                      bool relu, const at::Tensor& out) {
  const c10::cuda::CUDAGuard guard(y.device());
  const at::Tensor scale = at::empty({y.size(1)}, y.options()), shift = at::empty_like(scale);
  AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "FusedBatchNormEvaluation", [&] {
    const BatchNormGrid grid = GridOf<scalar_t>(y, {y, addend, out, scale, shift});
    CheckLaunched(LaunchBatchNormEvaluation<scalar_t>(grid, Data<scalar_t>(y), ParametersOf<scalar_t>(norm),
                                                      Data<scalar_t>(addend), relu, MutableData<scalar_t>(scale),
                                                      MutableData<scalar_t>(shift), MutableData<scalar_t>(out),
                                                      c10::cuda::getCurrentCUDAStream().stream()));
  });
}

void FusedBatchNormBackwardOnDevice(const FusedBatchNormResult& forward, const at::Tensor& y, bool relu,
                                    const at::Tensor& gradient, const FusedBatchNormGradients& gradients) {
  const c10::cuda::CUDAGuard guard(y.device());
  const bool gated = relu && gradients.addend.defined();
  const at::Tensor of_y = at::empty({y.size(1)}, y.options()), constant = at::empty_like(of_y);
  AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "FusedBatchNormBackward", [&] {
    const at::Tensor out = gated ? forward.out : at::Tensor(), of_addend = gated ? gradients.addend : at::Tensor();
    const BatchNormGrid grid = GridOf<scalar_t>(
        y, {y, gradient, out, of_addend, gradients.y, forward.scale, forward.shift, forward.mean, of_y, constant});
    const at::Tensor partial = Partial(grid, y);
    const BatchNormChannelGradients<scalar_t> of_channels = {
        MutableData<scalar_t>(gradients.gamma), MutableData<scalar_t>(gradients.beta), MutableData<scalar_t>(of_y),
        MutableData<scalar_t>(constant)};
    CheckLaunched(LaunchBatchNormBackward<scalar_t>(
        grid, Data<scalar_t>(gradient), Data<scalar_t>(y), Data<scalar_t>(out), SavedOf<scalar_t>(forward), relu,
        MutableData<double>(partial), MutableData<scalar_t>(of_addend), of_channels, MutableData<scalar_t>(gradients.y),
        c10::cuda::getCurrentCUDAStream().stream()));
  });
}

}  // namespace prunelab
