#include "ml/execution/sampled_conv.h"

#include <ATen/ATen.h>

namespace prunelab {

bool NeedsSampling(const Window& window, const at::Tensor& weight) {
  constexpr int64_t kLanes = 8;  // floats in a vector of AVX2
  return weight.device().is_cpu() && weight.scalar_type() == at::kFloat && weight.size(2) == 1 && weight.size(3) == 1 &&
         window.Pads() == std::array<int64_t, 2>{0, 0} && (window.down.stride > 1 || window.across.stride > 1) &&
         weight.size(1) < kLanes;
}

at::Tensor Sampled(const Window& window, const at::Tensor& x) {
  return x.slice(2, 0, c10::nullopt, window.down.stride)
      .slice(3, 0, c10::nullopt, window.across.stride)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace prunelab
