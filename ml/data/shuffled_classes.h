// The samples of each class in random order, which every stratified choice starts from.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace prunelab {

// For each class, the indices of its samples in the order that RandomStream(seed, purpose, class) gives. So one class
// never affects how another is drawn. `labels` are `count` classes in [0, classes).
std::vector<std::vector<int64_t>> ShuffledClasses(const int64_t* labels, int64_t count, int64_t classes, uint64_t seed,
                                                  absl::string_view purpose);

}  // namespace prunelab
