#include "ml/pruning/erdos_renyi.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ml/pruning/testing/strategy_reference.h"

namespace prunelab {
namespace {

TEST(ErdosRenyiTest, DensitiesAreTheReferences) {
  const std::vector<std::vector<int64_t>> shapes = {{8, 3, 3, 3}, {12, 8, 3, 3}, {8, 12, 3, 3}, {8, 8, 1, 1}};
  const std::vector<double> half = ErdosRenyiKernelDensities(shapes, 0.5);
  const std::vector<double> tenth = ErdosRenyiKernelDensities(shapes, 0.9);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(half[i], kErdosRenyiKernelDensities50[i], 1e-12) << i;
    EXPECT_NEAR(tenth[i], kErdosRenyiKernelDensities90[i], 1e-12) << i;
  }
}

// Solved another way: the scale of the densities by bisection.
TEST(ErdosRenyiTest, DensitiesAddUpAndAreProportionalBelowOne) {
  const std::vector<std::vector<int64_t>> shapes = {{16, 3, 3, 3}, {16, 16, 3, 3}, {64, 16, 1, 1}, {32, 64, 5, 3}};
  for (const bool of_filters : {false, true}) {
    for (const double rate : {0.05, 0.3, 0.6, 0.95}) {
      const auto entries = [&](const std::vector<int64_t>& shape) {
        return static_cast<double>(of_filters ? shape[0] : shape[0] * shape[1] * shape[2] * shape[3]);
      };
      const auto raw = [](const std::vector<int64_t>& shape) {
        return static_cast<double>(shape[0] + shape[1] + shape[2] + shape[3]) /
               static_cast<double>(shape[0] * shape[1] * shape[2] * shape[3]);
      };
      double all = 0, low = 0, high = 1e6;
      for (const auto& shape : shapes) all += entries(shape);
      for (int i = 0; i < 200; ++i) {
        const double scale = (low + high) / 2;
        double live = 0;
        for (const auto& shape : shapes) live += entries(shape) * std::min(1.0, scale * raw(shape));
        (live < (1 - rate) * all ? low : high) = scale;
      }
      const std::vector<double> densities = ErdosRenyiKernelDensities(shapes, rate, of_filters);
      for (size_t i = 0; i < shapes.size(); ++i) {
        EXPECT_NEAR(densities[i], std::min(1.0, low * raw(shapes[i])), 1e-9) << rate << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace prunelab
