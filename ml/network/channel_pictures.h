// What constant channels look like: pictures that are the same for every image (border_runs.h says why they are not
// flat), with rows and columns that are equal held once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "ml/network/border_runs.h"
#include "ml/network/network.pb.h"

namespace prunelab {

// Pictures of one node's channels.
struct ChannelPictures {
  at::Tensor values;  // float64 [channels, rows.size(), columns.size()]
  Runs rows, columns;
};

// All zero.
ChannelPictures ZeroPictures(int64_t channels, int64_t height, int64_t width);

// The pictures of a constant node, from the tensor that it stores.
ChannelPictures StoredPictures(const Constant& constant, const at::Tensor& value);

// The pictures at full size, float64 [channels, height, width].
at::Tensor FullSize(const ChannelPictures& pictures);

// The same pictures with neighbouring rows and columns joined that are equal in all channels.
ChannelPictures Coarsened(const ChannelPictures& pictures);

// The sum of two pictures; a size of 1 is repeated to the size of the other.
ChannelPictures SumOf(const ChannelPictures& a, const ChannelPictures& b, int64_t height, int64_t width);

// `combine` of the two at full size, [channels, height, width] each, number by number; sizes of 1 are repeated.
ChannelPictures Combined(const ChannelPictures& a, const ChannelPictures& b, int64_t height, int64_t width,
                         const std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>& combine);

// What a sliding operation makes of the pictures: `slide` takes and gives [1, channels, height, width], by windows
// `down` the rows and `across` the columns. One pixel of each run of the result is held.
ChannelPictures Slid(const ChannelPictures& pictures, const Window& down, const Window& across,
                     const std::function<at::Tensor(const at::Tensor&)>& slide);

}  // namespace prunelab
