#include "ml/kernels/device_conv3x3/weight_gradient.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <tuple>

#include "ml/kernels/device_conv3x3/on_device.h"
#include "ml/kernels/device_conv3x3/threads.h"

namespace prunelab {
namespace {

constexpr int64_t kMostChannels = 64;

bool CanBeRead(const at::Tensor& tensor) {
  return tensor.is_contiguous(at::MemoryFormat::ChannelsLast) && tensor.size(1) % kGroup == 0 &&
         tensor.size(1) <= kMostChannels && reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 16 == 0;
}

at::Tensor ByLibrary(const at::Tensor& x, const at::Tensor& dy) {
  // Of the weight only its shape is read.
  const at::Tensor weight =
      at::empty({dy.size(1), x.size(1), 3, 3}, x.options().memory_format(at::MemoryFormat::ChannelsLast));
  return std::get<1>(at::convolution_backward(dy, x, weight, at::OptionalIntArrayRef(), {1, 1}, {1, 1}, {1, 1},
                                              /*transposed=*/false, {0, 0}, /*groups=*/1, {false, true, false}));
}

}  // namespace

bool HasOwnConv3x3WeightGradient(const at::Tensor& x, const at::Tensor& dy) {
  return x.is_cuda() && x.scalar_type() == at::kFloat && x.numel() > 0 && CanBeRead(x) && CanBeRead(dy);
}

at::Tensor Conv3x3WeightGradient(const at::Tensor& x, const at::Tensor& dy) {
  if (!HasOwnConv3x3WeightGradient(x, dy)) return ByLibrary(x, dy);
  const WeightGradientGrid grid =
      MakeWeightGradientGrid(x.size(0), static_cast<int>(x.size(2)), static_cast<int>(x.size(3)),
                             static_cast<int>(x.size(1)), static_cast<int>(dy.size(1)));
  const at::Tensor partial = at::empty({grid.partial_size()}, x.options().memory_format(at::MemoryFormat::Contiguous));
  const at::Tensor dweight =
      at::empty({dy.size(1), x.size(1), 3, 3}, x.options().memory_format(at::MemoryFormat::ChannelsLast));
  WeightGradientOnDevice(grid, x, dy, partial, dweight);
  return dweight;
}

}  // namespace prunelab
