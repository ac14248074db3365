#include "ml/execution/sampled_conv.h"

#include <ATen/ATen.h>

namespace prunelab {

bool NeedsSampling(const Conv2d& conv, const at::Tensor& weight) {
  constexpr int64_t kLanes = 8;  // floats in a vector of AVX2
  return weight.device().is_cpu() && weight.scalar_type() == at::kFloat && weight.size(2) == 1 && weight.size(3) == 1 &&
         conv.padding() == 0 && conv.stride() > 1 && weight.size(1) < kLanes;
}

at::Tensor Sampled(const Conv2d& conv, const at::Tensor& x) {
  return x.slice(2, 0, c10::nullopt, conv.stride())
      .slice(3, 0, c10::nullopt, conv.stride())
      .contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace prunelab
