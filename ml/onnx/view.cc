#include "ml/onnx/view.h"

#include <algorithm>
#include <utility>

namespace prunelab {
namespace {

// Neighbours that together are a factor of an axis become one atom.
void Join(Dimension& dimension) {
  Dimension joined;
  for (const Atom& atom : dimension) {
    if (!joined.empty() && joined.back().axis == atom.axis && joined.back().stride == atom.stride * atom.size) {
      joined.back().size *= atom.size;
      joined.back().stride = atom.stride;
    } else {
      joined.push_back(atom);
    }
  }
  dimension = std::move(joined);
}

void Append(View& view, Axis axis, int64_t size) {
  view.emplace_back();
  if (size != 1 || axis == Axis::kBatch) view.back().push_back({axis, size, 1});
}

// Takes atoms of together `size` elements off the front of `atoms`, which are in reverse order.
std::optional<Dimension> Take(std::vector<Atom>& atoms, int64_t size) {
  Dimension taken;
  int64_t left = size;
  // A batch of one goes to the first dimension, whatever its size.
  if (!atoms.empty() && atoms.back().size == 1) {
    taken.push_back(atoms.back());
    atoms.pop_back();
  }
  while (left != 1) {
    if (atoms.empty() || left == 0) return std::nullopt;
    Atom atom = atoms.back();
    atoms.pop_back();
    if (left % atom.size != 0) {
      if (atom.size % left != 0) return std::nullopt;
      const int64_t minor = atom.size / left;
      atoms.push_back({atom.axis, minor, atom.stride});
      atom = {atom.axis, left, atom.stride * minor};
    }
    left /= atom.size;
    taken.push_back(atom);
  }
  Join(taken);
  return taken;
}

}  // namespace

bool operator==(const Atom& a, const Atom& b) { return a.axis == b.axis && a.size == b.size && a.stride == b.stride; }

View WholeView(int64_t batch, const NodeShape& shape) {
  View view;
  Append(view, Axis::kBatch, batch);
  Append(view, Axis::kChannels, shape.channels);
  if (shape.flat) return view;
  Append(view, Axis::kHeight, shape.height);
  Append(view, Axis::kWidth, shape.width);
  return view;
}

int64_t SizeOf(const Dimension& dimension) {
  int64_t size = 1;
  for (const Atom& atom : dimension) size *= atom.size;
  return size;
}

std::vector<int64_t> SizesOf(const View& view) {
  std::vector<int64_t> sizes;
  for (const Dimension& dimension : view) sizes.push_back(SizeOf(dimension));
  return sizes;
}

std::optional<View> Reshaped(const View& view, const std::vector<int64_t>& sizes) {
  std::vector<Atom> atoms;
  for (const Dimension& dimension : view) atoms.insert(atoms.end(), dimension.begin(), dimension.end());
  std::reverse(atoms.begin(), atoms.end());
  View reshaped;
  for (const int64_t size : sizes) {
    std::optional<Dimension> taken = Take(atoms, size);
    if (!taken) return std::nullopt;
    reshaped.push_back(*std::move(taken));
  }
  if (!atoms.empty()) return std::nullopt;
  return reshaped;
}

bool IsWhole(const Dimension& dimension, Axis axis, int64_t size) {
  if (dimension.empty()) return size == 1 && axis != Axis::kBatch;
  return dimension.size() == 1 && dimension[0] == Atom{axis, size, 1};
}

bool IsOnly(const Dimension& dimension, Axis axis) {
  return !dimension.empty() &&
         std::all_of(dimension.begin(), dimension.end(), [&](const Atom& atom) { return atom.axis == axis; });
}

bool HasAxis(const Dimension& dimension, Axis axis) {
  return std::any_of(dimension.begin(), dimension.end(), [&](const Atom& atom) { return atom.axis == axis; });
}

std::vector<int64_t> ChannelOrder(const View& view, int d, const std::vector<int64_t>& indices) {
  std::vector<int64_t> order = {0};
  for (int k = 0; k < static_cast<int>(view.size()); ++k) {
    std::vector<int64_t> offsets = {0};  // of the dimension's own channels
    for (const Atom& atom : view[k]) {
      if (atom.axis != Axis::kChannels) continue;
      std::vector<int64_t> finer;
      for (const int64_t offset : offsets) {
        for (int64_t i = 0; i < atom.size; ++i) finer.push_back(offset + i * atom.stride);
      }
      offsets = std::move(finer);
    }
    if (k == d) {
      std::vector<int64_t> chosen;
      for (const int64_t index : indices) chosen.push_back(offsets[static_cast<size_t>(index)]);
      offsets = std::move(chosen);
    }
    std::vector<int64_t> finer;
    for (const int64_t before : order) {
      for (const int64_t offset : offsets) finer.push_back(before + offset);
    }
    order = std::move(finer);
  }
  return order;
}

bool IsIdentity(const std::vector<int64_t>& order, int64_t count) {
  if (static_cast<int64_t>(order.size()) != count) return false;
  for (int64_t i = 0; i < count; ++i) {
    if (order[static_cast<size_t>(i)] != i) return false;
  }
  return true;
}

View WithOrderedChannels(const View& view, int d, int64_t indices) {
  View ordered = view;
  if (d >= 0) {
    ordered[d].clear();
    if (indices != 1) ordered[d].push_back({Axis::kChannels, indices, 1});
  }
  int64_t stride = 1;
  for (int k = static_cast<int>(ordered.size()) - 1; k >= 0; --k) {
    for (size_t i = ordered[k].size(); i-- > 0;) {
      Atom& atom = ordered[k][i];
      if (atom.axis != Axis::kChannels) continue;
      atom.stride = stride;
      stride *= atom.size;
    }
    Join(ordered[k]);
  }
  return ordered;
}

}  // namespace prunelab
