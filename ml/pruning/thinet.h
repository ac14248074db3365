// What thinet (thinet.proto) is made of, for its test.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/network/network.pb.h"

namespace prunelab {

// One output of a convolution: of an image, at a position (row * width + column of its output), of a filter.
struct SampledOutput {
  int64_t image = 0, position = 0, filter = 0;
};

// x: what each channel of `features` [n, C, H, W] contributes to the samples through `weight` [out, C, kh, kw] of
// `conv`: float64 [samples, C], on the CPU.
at::Tensor ChannelContributions(const at::Tensor& features, const at::Tensor& weight, const Conv2d& conv,
                                const std::vector<SampledOutput>& samples);

// ceil(channels * rate).
int64_t GivenUpCount(int64_t channels, double rate);

// `discarded` ([C], true: is off already) grown greedily until `count` channels are given up.
std::vector<bool> DiscardChannels(const at::Tensor& contributions, std::vector<bool> discarded, int64_t count);

// w of the channels that are not given up, 1 for the others: float64 [C].
at::Tensor LeastSquaresScale(const at::Tensor& contributions, const std::vector<bool>& discarded);

}  // namespace prunelab
