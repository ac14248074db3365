#include "ml/data/shuffled_classes.h"

#include <utility>

#include "ml/base/random.h"

namespace prunelab {

std::vector<std::vector<int64_t>> ShuffledClasses(const int64_t* labels, int64_t count, int64_t classes, uint64_t seed,
                                                  absl::string_view purpose) {
  std::vector<std::vector<int64_t>> members(classes);
  for (int64_t i = 0; i < count; ++i) members[labels[i]].push_back(i);
  for (int64_t label = 0; label < classes; ++label) {
    RandomStream stream(seed, purpose, label);
    std::vector<int64_t> order = RandomPermutation(static_cast<int64_t>(members[label].size()), stream);
    for (int64_t& place : order) place = members[label][place];
    members[label] = std::move(order);
  }
  return members;
}

}  // namespace prunelab
