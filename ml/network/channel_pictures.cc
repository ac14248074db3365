#include "ml/network/channel_pictures.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

namespace prunelab {
namespace {

at::Tensor Indices(const std::vector<int64_t>& indices) { return at::tensor(indices, at::kLong); }

// One pixel for each run of equal pixels.
ChannelPictures Picked(const at::Tensor& full_size, Runs rows, Runs columns) {
  const at::Tensor values =
      full_size.index_select(1, Indices(RunStarts(rows))).index_select(2, Indices(RunStarts(columns)));
  return {values, std::move(rows), std::move(columns)};
}

}  // namespace

ChannelPictures ZeroPictures(int64_t channels, int64_t height, int64_t width) {
  return {at::zeros({channels, 1, 1}, at::kDouble), {height}, {width}};
}

ChannelPictures StoredPictures(const Constant& constant, const at::Tensor& value) {
  ChannelPictures pictures;
  pictures.values = value.to(at::kDouble);
  pictures.rows.assign(constant.row_repeats().begin(), constant.row_repeats().end());
  pictures.columns.assign(constant.column_repeats().begin(), constant.column_repeats().end());
  if (pictures.rows.empty()) pictures.rows.assign(constant.height(), 1);
  if (pictures.columns.empty()) pictures.columns.assign(constant.width(), 1);
  return pictures;
}

at::Tensor FullSize(const ChannelPictures& pictures) {
  return pictures.values.repeat_interleave(Indices(pictures.rows), 1).repeat_interleave(Indices(pictures.columns), 2);
}

ChannelPictures Coarsened(const ChannelPictures& pictures) {
  ChannelPictures coarse = pictures;
  const auto join = [&](Runs& runs, int64_t dimension) {
    const int64_t size = coarse.values.size(dimension);
    if (size == 1) return;
    const at::Tensor equal =
        coarse.values.narrow(dimension, 1, size - 1).eq(coarse.values.narrow(dimension, 0, size - 1));
    const at::Tensor same = equal.transpose(0, dimension).flatten(1).all(1);
    std::vector<int64_t> starts = {0};
    Runs joined = {runs[0]};
    for (int64_t k = 1; k < size; ++k) {
      if (same[k - 1].item<bool>()) {
        joined.back() += runs[k];
      } else {
        starts.push_back(k);
        joined.push_back(runs[k]);
      }
    }
    runs = joined;
    coarse.values = coarse.values.index_select(dimension, Indices(starts));
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
  return Picked(combine(spread(a), spread(b)), MergeRuns(a.rows, b.rows, height),
                MergeRuns(a.columns, b.columns, width));
}

ChannelPictures Slid(const ChannelPictures& pictures, const Window& down, const Window& across,
                     const std::function<at::Tensor(const at::Tensor&)>& slide) {
  return Picked(slide(FullSize(pictures).unsqueeze(0))[0], WindowRuns(pictures.rows, down),
                WindowRuns(pictures.columns, across));
}

}  // namespace prunelab
