// Where a picture that is the same for every image differs from pixel to pixel.
//
// After a convolution that pads, a constant channel is no longer constant: near the border some taps meet zeros. But
// all pixels of the inside are still equal, so each row that occurs is held once, and of each row of the picture it is
// known which one that is:
//
//   a constant of 8 x 8 pixels                      0 0 0 0 0 0 0 0
//   behind a 3x3 convolution, padding 1             0 1 1 1 1 1 1 2   three rows and three columns hold all there is
//   behind one more                                 0 1 2 2 2 2 3 4
//   a transposed convolution of stride 2 instead    0 1 0 1 0 1 ...
//
// The same holds for columns. This follows from sizes alone, whatever the values are.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "ml/network/window.h"

namespace prunelab {

class EqualRows {
 public:
  EqualRows() = default;
  // All rows are equal; all differ; they differ from run to run of so many rows.
  static EqualRows Alike(int64_t size) { return EqualRows(std::vector<int64_t>(size, 0)); }
  static EqualRows Different(int64_t size);
  static EqualRows OfRuns(const std::vector<int64_t>& lengths);
  // The row that is held for each row. Every row that is held occurs.
  static EqualRows OfIndex(std::vector<int64_t> index) { return EqualRows(std::move(index)); }
  // Rows with equal keys are equal; they are numbered in the order in which they occur first. `neighbours`: only those
  // beside each other are taken as equal.
  template <typename Key>
  static EqualRows OfKeys(const std::vector<Key>& keys, bool neighbours);

  // Of the picture; held.
  int64_t size() const { return static_cast<int64_t>(index_.size()); }
  int64_t held() const { return held_; }
  const std::vector<int64_t>& index() const { return index_; }
  // The first of the picture's rows that each row that is held stands for.
  std::vector<int64_t> First() const;

  // Whether equal rows are neighbours, and rows are held in the picture's order; then the lengths of the runs.
  bool AreRuns() const;
  std::vector<int64_t> Runs() const;

  bool operator==(const EqualRows& other) const { return index_ == other.index_; }

 private:
  explicit EqualRows(std::vector<int64_t> index);

  std::vector<int64_t> index_;
  int64_t held_ = 0;
};

// By row of the result, the rows of a picture that it is computed of; negative numbers for what is not in the picture.
using RowSources = std::vector<std::vector<int64_t>>;

// What decides whether two rows of the result are equal.
enum class Computed {
  kByPlace,    // which row is in which place, as in a convolution
  kByAverage,  // which rows there are, and how many of each: as in an average
  kByKind,     // which rows there are: as in a maximum
};

// The rows of what is computed of rows `in`. `neighbours`: as in OfKeys.
EqualRows ComputedRows(const EqualRows& in, const RowSources& sources, Computed computed, bool neighbours = false);

// The rows after a window has slid over rows `in`. `outside`: whether the pixels of the padding count, as zeros.
EqualRows SlidRows(const EqualRows& in, const WindowAxis& window, Computed computed, bool outside);

// The rows of a transposed convolution of rows `in`.
EqualRows TransposedRows(const EqualRows& in, const TransposedAxis& window);

// The rows of the sum of two pictures with `size` rows; a picture with a single row is repeated.
EqualRows MergedRows(const EqualRows& a, const EqualRows& b, int64_t size);

template <typename Key>
EqualRows EqualRows::OfKeys(const std::vector<Key>& keys, bool neighbours) {
  std::vector<int64_t> index;
  std::map<Key, int64_t> seen;
  int64_t held = 0;
  for (size_t row = 0; row < keys.size(); ++row) {
    if (neighbours && row > 0 && keys[row] != keys[row - 1]) seen.clear();
    const auto [place, is_new] = seen.emplace(keys[row], held);
    held += is_new;
    index.push_back(place->second);
  }
  return EqualRows(std::move(index));
}

}  // namespace prunelab
