#include "ml/kernels/batch_norm/fused_batch_norm.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <vector>

#include "ml/base/check.h"
#include "ml/kernels/batch_norm/arithmetic.h"
#include "ml/kernels/batch_norm/batch_norm.h"
#include "ml/kernels/batch_norm/on_device.h"

namespace prunelab {
namespace {

at::Tensor ChannelsLast(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.detach().contiguous(at::MemoryFormat::ChannelsLast) : tensor;
}

at::Tensor PerChannel(const at::Tensor& y, at::ScalarType dtype) {
  return at::empty({y.size(1)}, at::TensorOptions(y.device()).dtype(dtype));
}

template <typename T>
const T* Data(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}
template <typename T>
T* MutableData(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
}

BatchNormLayout LayoutOf(const at::Tensor& y) {
  BatchNormLayout layout;
  layout.channels = layout.stored = y.size(1);
  layout.rows = y.numel() / layout.channels;
  return layout;
}

void Check(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend) {
  PRUNELAB_CHECK(y.dim() == 4 && y.numel() > 0) << "an input of shape " << y.sizes();
  PRUNELAB_CHECK(!addend.defined() || addend.sizes() == y.sizes()) << "shapes to add differ";
  for (const at::Tensor* tensor : {&norm.gamma, &norm.beta, &norm.running_mean, &norm.running_var}) {
    PRUNELAB_CHECK(tensor->sizes() == at::IntArrayRef({y.size(1)}) && tensor->is_contiguous() &&
                   tensor->scalar_type() == y.scalar_type() && tensor->device() == y.device())
        << "a parameter of " << tensor->sizes() << " in " << tensor->scalar_type() << " on " << tensor->device();
  }
}

// Whether a device applies a ReLU.
bool WithoutCeiling(const Rectifier& relu) {
  PRUNELAB_CHECK(!relu.has_ceiling()) << "a ReLU with the ceiling " << relu.ceiling << " on a device";
  return relu.on;
}

template <typename T>
void TrainingOnCpu(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend, Rectifier relu,
                   const FusedBatchNormResult& result) {
  const BatchNormLayout layout = LayoutOf(y);
  std::vector<double> mean(layout.channels), variance(layout.channels);
  BatchNormStatistics(layout, Data<T>(y), mean.data(), variance.data());
  const double rows = static_cast<double>(layout.rows);
  for (int64_t c = 0; c < layout.channels; ++c) {
    const ChannelAffine affine =
        AffineOf(mean[c], variance[c], Data<T>(norm.gamma)[c], Data<T>(norm.beta)[c], norm.epsilon);
    MutableData<T>(result.scale)[c] = static_cast<T>(affine.scale);
    MutableData<T>(result.shift)[c] = static_cast<T>(affine.shift);
    MutableData<T>(result.mean)[c] = static_cast<T>(affine.mean);
    MutableData<double>(result.inverse)[c] = affine.inverse;
    T& running_mean = MutableData<T>(norm.running_mean)[c];
    T& running_var = MutableData<T>(norm.running_var)[c];
    running_mean = static_cast<T>(RunningAfter(running_mean, mean[c], norm.momentum));
    running_var = static_cast<T>(RunningAfter(running_var, variance[c] * rows / (rows - 1), norm.momentum));
  }
  MutableData<int64_t>(norm.num_batches_tracked)[0] += 1;
  BatchNormForward(layout, Data<T>(y), Data<T>(result.scale), Data<T>(result.shift), Data<T>(addend), relu,
                   MutableData<T>(result.out));
}

template <typename T>
void EvaluationOnCpu(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend, Rectifier relu,
                     const at::Tensor& out) {
  const BatchNormLayout layout = LayoutOf(y);
  std::vector<T> scale(layout.channels), shift(layout.channels);
  for (int64_t c = 0; c < layout.channels; ++c) {
    const ChannelAffine affine = AffineOf(Data<T>(norm.running_mean)[c], Data<T>(norm.running_var)[c],
                                          Data<T>(norm.gamma)[c], Data<T>(norm.beta)[c], norm.epsilon);
    scale[c] = static_cast<T>(affine.scale);
    shift[c] = static_cast<T>(affine.shift);
  }
  BatchNormForward(layout, Data<T>(y), scale.data(), shift.data(), Data<T>(addend), relu, MutableData<T>(out));
}

template <typename T>
void BackwardOnCpu(const FusedBatchNormResult& forward, const at::Tensor& y, Rectifier relu, const at::Tensor& gradient,
                   const FusedBatchNormGradients& gradients) {
  const BatchNormLayout layout = LayoutOf(y);
  const bool gated = relu.on && gradients.addend.defined();
  std::vector<double> dgamma(layout.channels), dbeta(layout.channels);
  BatchNormBackward<T>(layout, Data<T>(gradient), Data<T>(y), gated ? Data<T>(forward.out) : nullptr,
                       Data<T>(forward.scale), Data<T>(forward.shift), Data<T>(forward.mean),
                       Data<double>(forward.inverse), relu, gated ? MutableData<T>(gradients.addend) : nullptr,
                       dgamma.data(), dbeta.data(), MutableData<T>(gradients.y), nullptr);
  for (int64_t c = 0; c < layout.channels; ++c) {
    MutableData<T>(gradients.gamma)[c] = static_cast<T>(dgamma[c]);
    MutableData<T>(gradients.beta)[c] = static_cast<T>(dbeta[c]);
  }
}

}  // namespace

// A tensor without data, on LibTorch's "meta" device, gives results without data: tests that only follow what a step
// calls use this.

FusedBatchNormResult FusedBatchNormTraining(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend,
                                            Rectifier relu) {
  Check(norm, y, addend);
  PRUNELAB_CHECK(y.numel() > y.size(1)) << "one value a channel, of which there is no variance";
  const at::NoGradGuard no_gradients;
  const at::Tensor input = ChannelsLast(y), other = ChannelsLast(addend);
  FusedBatchNormResult result;
  result.out = at::empty_like(input);
  for (at::Tensor* tensor : {&result.scale, &result.shift, &result.mean}) *tensor = PerChannel(y, y.scalar_type());
  result.inverse = PerChannel(y, at::kDouble);
  if (input.is_cpu()) {
    AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "FusedBatchNormTraining",
                               [&] { TrainingOnCpu<scalar_t>(norm, input, other, relu, result); });
  } else if (!input.is_meta()) {
    FusedBatchNormTrainingOnDevice(norm, input, other, WithoutCeiling(relu), result);
  }
  return result;
}

at::Tensor FusedBatchNormEvaluation(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend,
                                    Rectifier relu) {
  Check(norm, y, addend);
  const at::NoGradGuard no_gradients;
  const at::Tensor input = ChannelsLast(y), other = ChannelsLast(addend);
  const at::Tensor out = at::empty_like(input);
  if (input.is_cpu()) {
    AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "FusedBatchNormEvaluation",
                               [&] { EvaluationOnCpu<scalar_t>(norm, input, other, relu, out); });
  } else if (!input.is_meta()) {
    FusedBatchNormEvaluationOnDevice(norm, input, other, WithoutCeiling(relu), out);
  }
  return out;
}

FusedBatchNormGradients FusedBatchNormBackward(const FusedBatchNormResult& forward, const at::Tensor& y,
                                               bool with_addend, Rectifier relu, const at::Tensor& gradient) {
  PRUNELAB_CHECK(gradient.sizes() == y.sizes() && gradient.scalar_type() == y.scalar_type())
      << "a gradient of shape " << gradient.sizes();
  const at::NoGradGuard no_gradients;
  const at::Tensor input = ChannelsLast(y), of_out = ChannelsLast(gradient);
  FusedBatchNormGradients gradients;
  gradients.y = at::empty_like(input);
  gradients.gamma = PerChannel(y, y.scalar_type());
  gradients.beta = PerChannel(y, y.scalar_type());
  if (with_addend) gradients.addend = relu.on ? at::empty_like(input) : of_out;
  if (input.is_cpu()) {
    AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "FusedBatchNormBackward",
                               [&] { BackwardOnCpu<scalar_t>(forward, input, relu, of_out, gradients); });
  } else if (!input.is_meta()) {
    FusedBatchNormBackwardOnDevice(forward, input, WithoutCeiling(relu), of_out, gradients);
  }
  return gradients;
}

}  // namespace prunelab
