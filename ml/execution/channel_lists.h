// The channels of a convolution with BN that a step computes, and the weights for them.
//
// Of `filters` output channels the convolution computes those in `stored`, and BN outputs those in `wide`. `wide` has
// more channels if masked filters still give a constant that some consumer needs. Both have at least a multiple of
// eight channels (or all of them), padded with masked filters: convolutions are fast at multiples of eight, and a
// masked filter that is computed is still exact.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace prunelab {

struct ChannelLists {
  int64_t filters = 0;
  std::vector<int64_t> wide, stored;  // in ascending order; stored is a subset of wide
  std::vector<int32_t> position;      // the position of each stored channel in wide
  bool all_stored() const { return stored.size() == wide.size(); }
};

// `live`: unmasked filters. `needed`: masked filters whose output is needed nevertheless. `full_width`: wide has all
// channels, needed or not.
ChannelLists ChooseChannels(const std::vector<bool>& live, const std::vector<bool>& needed, bool full_width);

// 0, ..., n - 1.
std::vector<int64_t> AllChannels(int64_t n);

// weight[rows][:, columns] times the mask (undefined: no mask; [out, 1, 1, 1] or the weight's shape), channels_last. It
// is the weight itself if that is the same. On the CPU, float or double.
at::Tensor WeightSlice(const at::Tensor& weight, const at::Tensor& mask, const std::vector<int64_t>& rows,
                       const std::vector<int64_t>& columns);

// The gradient of a weight of `shape` from the gradient of its slice: zero elsewhere, times the mask if defined.
at::Tensor GradientOfSlice(const at::Tensor& gradient, at::IntArrayRef shape, const at::Tensor& mask,
                           const std::vector<int64_t>& rows, const std::vector<int64_t>& columns);

}  // namespace prunelab
