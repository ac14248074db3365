#include "ml/network/equal_rows.h"

#include <algorithm>
#include <utility>

namespace prunelab {

EqualRows::EqualRows(std::vector<int64_t> index) : index_(std::move(index)) {
  for (const int64_t row : index_) held_ = std::max(held_, row + 1);
}

EqualRows EqualRows::Different(int64_t size) { return OfRuns(std::vector<int64_t>(size, 1)); }

EqualRows EqualRows::OfRuns(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> index;
  for (size_t run = 0; run < lengths.size(); ++run) index.insert(index.end(), lengths[run], static_cast<int64_t>(run));
  return EqualRows(std::move(index));
}

std::vector<int64_t> EqualRows::First() const {
  std::vector<int64_t> first(held_, -1);
  for (int64_t row = size() - 1; row >= 0; --row) first[index_[row]] = row;
  return first;
}

bool EqualRows::AreRuns() const { return std::is_sorted(index_.begin(), index_.end()); }

std::vector<int64_t> EqualRows::Runs() const {
  std::vector<int64_t> lengths(held_, 0);
  for (const int64_t row : index_) ++lengths[row];
  return lengths;
}

EqualRows ComputedRows(const EqualRows& in, const RowSources& sources, Computed computed, bool neighbours) {
  std::vector<std::vector<int64_t>> keys;
  for (const std::vector<int64_t>& rows : sources) {
    std::vector<int64_t>& key = keys.emplace_back();
    for (const int64_t row : rows) key.push_back(row < 0 ? row : in.index()[row]);
    if (computed == Computed::kByPlace) continue;
    std::sort(key.begin(), key.end());
    // An average of one kind of row is that row, however many there are.
    const bool one_kind = !key.empty() && key.front() == key.back();
    if (computed == Computed::kByKind || one_kind) key.erase(std::unique(key.begin(), key.end()), key.end());
  }
  return EqualRows::OfKeys(keys, neighbours);
}

EqualRows SlidRows(const EqualRows& in, const WindowAxis& window, Computed computed, bool outside) {
  RowSources sources(window.Positions(in.size()));
  for (size_t k = 0; k < sources.size(); ++k) {
    for (int64_t tap = 0; tap < window.kernel; ++tap) {
      const int64_t row = static_cast<int64_t>(k) * window.stride - window.before + tap * window.dilation;
      const bool inside = row >= 0 && row < in.size();
      // Beyond the padding there is nothing that could count.
      if (inside || (outside && row < in.size() + window.after)) sources[k].push_back(inside ? row : -1);
    }
  }
  // Of runs a window makes runs.
  return ComputedRows(in, sources, computed, in.AreRuns());
}

EqualRows TransposedRows(const EqualRows& in, const TransposedAxis& window) {
  RowSources sources(window.Size(in.size()), std::vector<int64_t>(window.kernel, -1));
  for (int64_t row = 0; row < in.size(); ++row) {
    for (int64_t tap = 0; tap < window.kernel; ++tap) {
      const int64_t to = row * window.stride - window.padding + tap * window.dilation;
      if (to >= 0 && to < static_cast<int64_t>(sources.size())) sources[to][tap] = row;
    }
  }
  return ComputedRows(in, sources, Computed::kByPlace);
}

EqualRows MergedRows(const EqualRows& a, const EqualRows& b, int64_t size) {
  std::vector<std::pair<int64_t, int64_t>> keys;
  for (int64_t row = 0; row < size; ++row) {
    keys.emplace_back(a.size() == 1 ? 0 : a.index()[row], b.size() == 1 ? 0 : b.index()[row]);
  }
  return EqualRows::OfKeys(keys, /*neighbours=*/false);
}

}  // namespace prunelab
