#include "ml/network/channel_pictures.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace prunelab {
namespace {

at::Tensor Indices(const std::vector<int64_t>& indices) { return at::tensor(indices, at::kLong); }

// One pixel for each kind of equal pixels.
ChannelPictures Picked(const at::Tensor& full_size, EqualRows rows, EqualRows columns) {
  const at::Tensor values = full_size.index_select(1, Indices(rows.First())).index_select(2, Indices(columns.First()));
  return {values, std::move(rows), std::move(columns)};
}

EqualRows StoredRows(const google::protobuf::RepeatedField<int64_t>& repeats,
                     const google::protobuf::RepeatedField<int64_t>& index, int64_t size) {
  if (!index.empty()) return EqualRows::OfIndex({index.begin(), index.end()});
  if (!repeats.empty()) return EqualRows::OfRuns({repeats.begin(), repeats.end()});
  return EqualRows::Different(size);
}

}  // namespace

ChannelPictures PixelPictures(const at::Tensor& values) {
  return {values.view({-1, 1, 1}), EqualRows::Alike(1), EqualRows::Alike(1)};
}

ChannelPictures ZeroPictures(int64_t channels, int64_t height, int64_t width) {
  return {at::zeros({channels, 1, 1}, at::kDouble), EqualRows::Alike(height), EqualRows::Alike(width)};
}

ChannelPictures StoredPictures(const Constant& constant, const at::Tensor& value) {
  return {value.to(at::kDouble), StoredRows(constant.row_repeats(), constant.row_index(), constant.height()),
          StoredRows(constant.column_repeats(), constant.column_index(), constant.width())};
}

at::Tensor FullSize(const ChannelPictures& pictures) {
  return pictures.values.index_select(1, Indices(pictures.rows.index()))
      .index_select(2, Indices(pictures.columns.index()));
}

ChannelPictures Coarsened(const ChannelPictures& pictures) {
  ChannelPictures coarse = pictures;
  const auto join = [&](EqualRows& rows, int64_t dimension) {
    const int64_t held = rows.held();
    if (held == 1) return;
    // The first row that each is equal to.
    const at::Tensor slices = coarse.values.transpose(0, dimension).flatten(1);
    const bool runs = rows.AreRuns();
    std::vector<int64_t> same(held);
    for (int64_t k = 0; k < held; ++k) {
      same[k] = k;
      for (int64_t earlier = runs ? std::max<int64_t>(k - 1, 0) : 0; earlier < k; ++earlier) {
        if (same[earlier] != earlier && !runs) continue;
        if (!slices[earlier].eq(slices[k]).all().item<bool>()) continue;
        same[k] = same[earlier];
        break;
      }
    }
    std::vector<int64_t> keys;
    for (const int64_t row : rows.index()) keys.push_back(same[row]);
    rows = EqualRows::OfKeys(keys, /*neighbours=*/false);
    // In the order in which they are held.
    std::vector<int64_t> held_rows;
    for (const int64_t first : rows.First()) held_rows.push_back(keys[first]);
    coarse.values = coarse.values.index_select(dimension, Indices(held_rows));
  };
  join(coarse.rows, 1);
  join(coarse.columns, 2);
  return coarse;
}

ChannelPictures SumOf(const ChannelPictures& a, const ChannelPictures& b, int64_t height, int64_t width) {
  if (!b.values.ne(0).any().item<bool>()) return a;
  return Combined(a, b, height, width, [](const at::Tensor& x, const at::Tensor& y) { return x + y; });
}

ChannelPictures Combined(const ChannelPictures& a, const ChannelPictures& b, int64_t height, int64_t width,
                         const std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>& combine) {
  const auto spread = [&](const ChannelPictures& p) { return FullSize(p).expand({p.values.size(0), height, width}); };
  return Picked(combine(spread(a), spread(b)), MergedRows(a.rows, b.rows, height),
                MergedRows(a.columns, b.columns, width));
}

ChannelPictures ComputedPictures(const ChannelPictures& pictures, const EqualRows& rows, const EqualRows& columns,
                                 const std::function<at::Tensor(const at::Tensor&)>& compute) {
  return Picked(compute(FullSize(pictures).unsqueeze(0))[0], rows, columns);
}

}  // namespace prunelab
