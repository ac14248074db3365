// How a tensor of the ONNX graph lies in the value of a node of the network. A network's value is [batch, channels,
// height, width] or [batch, features], and nothing else. ONNX reshapes and transposes freely; what it does is tracked
// as a view, and as long as no node of the network needs the values in another order, nothing is computed.
//
// Each dimension of a view is a product of atoms, the first the slowest; an atom is an axis of the value or a factor of
// one. [N, C, H, W] transposed to [N, H, W, C] is {N}{H}{W}{C}; [N, 2, C / 2, H, W], a channel shuffle's first step, is
// {N}{C: size 2, stride C / 2}{C: size C / 2, stride 1}{H}{W}. A dimension of one has no atoms, except for the batch,
// which always is one.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ml/network/network.h"

namespace prunelab {

enum class Axis { kBatch, kChannels, kHeight, kWidth };

// Its index is (index of the axis / stride) % size.
struct Atom {
  Axis axis = Axis::kBatch;
  int64_t size = 1, stride = 1;
};
bool operator==(const Atom& a, const Atom& b);

using Dimension = std::vector<Atom>;
using View = std::vector<Dimension>;

// The whole value of a node.
View WholeView(int64_t batch, const NodeShape& shape);

int64_t SizeOf(const Dimension& dimension);
std::vector<int64_t> SizesOf(const View& view);

// The view with other sizes of as many elements; nullopt where a size is no product of atoms and factors of them.
std::optional<View> Reshaped(const View& view, const std::vector<int64_t>& sizes);

// Whether the dimension is the whole axis, of `size`, in its order.
bool IsWhole(const Dimension& dimension, Axis axis, int64_t size);
// Whether the dimension has atoms, all of the axis.
bool IsOnly(const Dimension& dimension, Axis axis);
// Whether any of its atoms is of the axis.
bool HasAxis(const Dimension& dimension, Axis axis);

// The positions along a node's channels that the channels' atoms, in the order of the dimensions, go through. `indices`
// of dimension `d` are taken alone, in their order; -1: all.
std::vector<int64_t> ChannelOrder(const View& view, int d = -1, const std::vector<int64_t>& indices = {});

// Whether it is 0, 1, ..., count - 1.
bool IsIdentity(const std::vector<int64_t>& order, int64_t count);

// The view of channels that were arranged anew in ChannelOrder(view, d, indices).
View WithOrderedChannels(const View& view, int d = -1, int64_t indices = 0);

}  // namespace prunelab
