#include "ml/pruning/erdos_renyi.h"

#include <algorithm>
#include <numeric>

namespace prunelab {

std::vector<double> ErdosRenyiKernelDensities(const std::vector<std::vector<int64_t>>& shapes, double rate,
                                              bool of_filters) {
  std::vector<double> sizes, sums, entries;
  for (const std::vector<int64_t>& shape : shapes) {
    double size = 1, sum = 0;
    for (const int64_t extent : shape) {
      size *= static_cast<double>(extent);
      sum += static_cast<double>(extent);
    }
    sizes.push_back(size);
    sums.push_back(sum);
    entries.push_back(of_filters ? static_cast<double>(shape[0]) : size);
  }
  const double live = (1 - rate) * std::accumulate(entries.begin(), entries.end(), 0.0);
  std::vector<double> densities(shapes.size(), 0);
  std::vector<bool> dense(shapes.size(), false);
  while (true) {
    double left = live, divisor = 0, most = 0;
    for (size_t i = 0; i < shapes.size(); ++i) {
      if (dense[i]) {
        left -= entries[i];
      } else {
        divisor += of_filters ? entries[i] * sums[i] / sizes[i] : sums[i];
        most = std::max(most, sums[i] / sizes[i]);
      }
    }
    if (divisor == 0) return densities;
    const double epsilon = left / divisor;
    for (size_t i = 0; i < shapes.size(); ++i) densities[i] = dense[i] ? 1 : epsilon * sums[i] / sizes[i];
    if (epsilon * most <= 1) return densities;
    for (size_t i = 0; i < shapes.size(); ++i) dense[i] = dense[i] || sums[i] / sizes[i] == most;
  }
}

}  // namespace prunelab
