#include "ml/execution/channel_lists.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

namespace prunelab {
namespace {

constexpr int64_t kMultiple = 8;

int64_t RoundedUp(int64_t count, int64_t most) {
  return std::min(most, std::max<int64_t>(1, (count + kMultiple - 1) / kMultiple) * kMultiple);
}

int64_t Count(const std::vector<bool>& flags) { return std::count(flags.begin(), flags.end(), true); }

std::vector<int64_t> Indices(const std::vector<bool>& flags) {
  std::vector<int64_t> indices;
  for (size_t c = 0; c < flags.size(); ++c) {
    if (flags[c]) indices.push_back(static_cast<int64_t>(c));
  }
  return indices;
}

// Calls work(T{}), where T is the type of the tensor's elements.
template <typename Work>
void WithType(const at::Tensor& tensor, const Work& work) {
  AT_DISPATCH_FLOATING_TYPES(tensor.scalar_type(), "weights", [&] { work(scalar_t{}); });
}

// Walks over the slice and the full weight together, both [out][kh][kw][in] in memory: work(slice index, full index,
// row of the full weight).
template <typename Work>
void ForSlice(int64_t taps, int64_t in, const std::vector<int64_t>& rows, const std::vector<int64_t>& columns,
              const Work& work) {
  int64_t slice = 0;
  for (const int64_t row : rows) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t base = (row * taps + tap) * in;
      for (const int64_t column : columns) work(slice++, base + column, row);
    }
  }
}

bool IsFilterMask(const at::Tensor& mask) { return mask.numel() == mask.size(0); }

at::Tensor ChannelsLast(const at::Tensor& tensor) { return tensor.contiguous(at::MemoryFormat::ChannelsLast); }

bool IsWhole(at::IntArrayRef shape, const std::vector<int64_t>& rows, const std::vector<int64_t>& columns) {
  return static_cast<int64_t>(rows.size()) == shape[0] && static_cast<int64_t>(columns.size()) == shape[1];
}

}  // namespace

ChannelLists ChooseChannels(const std::vector<bool>& live, const std::vector<bool>& needed, bool full_width) {
  ChannelLists lists;
  const auto filters = static_cast<int64_t>(live.size());
  lists.filters = filters;
  std::vector<bool> wide(filters, full_width);
  for (int64_t c = 0; c < filters; ++c) wide[c] = wide[c] || live[c] || needed[c];
  int64_t missing = RoundedUp(Count(wide), filters) - Count(wide);
  for (int64_t c = 0; c < filters && missing > 0; ++c) {
    if (wide[c]) continue;
    wide[c] = true;
    --missing;
  }
  std::vector<bool> stored = live;
  missing = RoundedUp(Count(live), filters) - Count(live);
  for (const bool those_needed : {true, false}) {
    for (int64_t c = 0; c < filters && missing > 0; ++c) {
      if (stored[c] || !wide[c] || needed[c] != those_needed) continue;
      stored[c] = true;
      --missing;
    }
  }
  lists.wide = Indices(wide);
  lists.stored = Indices(stored);
  for (size_t j = 0; j < lists.wide.size(); ++j) {
    if (stored[lists.wide[j]]) lists.position.push_back(static_cast<int32_t>(j));
  }
  return lists;
}

std::vector<int64_t> AllChannels(int64_t n) {
  std::vector<int64_t> all(n);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

at::Tensor WeightSlice(const at::Tensor& weight, const at::Tensor& mask, const std::vector<int64_t>& rows,
                       const std::vector<int64_t>& columns) {
  if (!mask.defined() && IsWhole(weight.sizes(), rows, columns)) return weight;
  const at::Tensor from = ChannelsLast(weight);
  const at::Tensor keep = mask.defined() ? ChannelsLast(mask) : mask;
  const at::Tensor slice = at::empty(
      {static_cast<int64_t>(rows.size()), static_cast<int64_t>(columns.size()), weight.size(2), weight.size(3)},
      from.options(), at::MemoryFormat::ChannelsLast);
  WithType(from, [&](auto type) {
    using T = decltype(type);
    const T* full = from.const_data_ptr<T>();
    const T* on = keep.defined() ? keep.const_data_ptr<T>() : nullptr;
    const bool of_filters = keep.defined() && IsFilterMask(keep);
    T* to = slice.mutable_data_ptr<T>();
    ForSlice(weight.size(2) * weight.size(3), weight.size(1), rows, columns, [&](int64_t i, int64_t j, int64_t row) {
      to[i] = on == nullptr ? full[j] : full[j] * on[of_filters ? row : j];
    });
  });
  return slice;
}

at::Tensor GradientOfSlice(const at::Tensor& gradient, at::IntArrayRef shape, const at::Tensor& mask,
                           const std::vector<int64_t>& rows, const std::vector<int64_t>& columns) {
  const at::Tensor from = ChannelsLast(gradient);
  if (IsWhole(shape, rows, columns)) return mask.defined() ? from * mask : from;
  const at::Tensor keep = mask.defined() ? ChannelsLast(mask) : mask;
  const at::Tensor full = at::empty(shape, from.options(), at::MemoryFormat::ChannelsLast).zero_();
  WithType(from, [&](auto type) {
    using T = decltype(type);
    const T* slice = from.const_data_ptr<T>();
    const T* on = keep.defined() ? keep.const_data_ptr<T>() : nullptr;
    const bool of_filters = keep.defined() && IsFilterMask(keep);
    T* to = full.mutable_data_ptr<T>();
    ForSlice(shape[2] * shape[3], shape[1], rows, columns, [&](int64_t i, int64_t j, int64_t row) {
      to[j] = on == nullptr ? slice[i] : slice[i] * on[of_filters ? row : j];
    });
  });
  return full;
}

}  // namespace prunelab
