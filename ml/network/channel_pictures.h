// What constant channels look like: pictures that are the same for every image (equal_rows.h says why they are not
// flat), with rows and columns that are equal held once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "ml/network/equal_rows.h"
#include "ml/network/network.pb.h"

namespace prunelab {

// Pictures of one node's channels.
struct ChannelPictures {
  at::Tensor values;  // float64 [channels, rows.held(), columns.held()]
  EqualRows rows, columns;
};

// Of one pixel: `values` has one number for each channel.
ChannelPictures PixelPictures(const at::Tensor& values);

// All zero.
ChannelPictures ZeroPictures(int64_t channels, int64_t height, int64_t width);

// The pictures of a constant node, from the tensor that it stores.
ChannelPictures StoredPictures(const Constant& constant, const at::Tensor& value);

// The pictures at full size, float64 [channels, height, width].
at::Tensor FullSize(const ChannelPictures& pictures);

// The same pictures with rows and columns joined that are equal in all channels: neighbours, or anywhere where equal
// rows are not neighbours.
ChannelPictures Coarsened(const ChannelPictures& pictures);

// The sum of two pictures; a size of 1 is repeated to the size of the other.
ChannelPictures SumOf(const ChannelPictures& a, const ChannelPictures& b, int64_t height, int64_t width);

// `combine` of the two at full size, [channels, height, width] each, number by number; sizes of 1 are repeated.
ChannelPictures Combined(const ChannelPictures& a, const ChannelPictures& b, int64_t height, int64_t width,
                         const std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>& combine);

// What an operation makes of the pictures that computes each of its `rows` and `columns` of certain rows and columns:
// `compute` takes and gives [1, channels, height, width]. One pixel of those that are equal is held.
ChannelPictures ComputedPictures(const ChannelPictures& pictures, const EqualRows& rows, const EqualRows& columns,
                                 const std::function<at::Tensor(const at::Tensor&)>& compute);

}  // namespace prunelab
