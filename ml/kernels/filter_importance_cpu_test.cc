#include "ml/kernels/filter_importance_cpu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "ml/base/random.h"

namespace prunelab {
namespace {

constexpr FilterImportanceKind kKinds[] = {FilterImportanceKind::kL1, FilterImportanceKind::kL2};

// Lane by lane as a warp does it: every lane adds the lane at distance 16, 8, ..., 1 in step with the others.
template <FilterImportanceKind kind, typename T>
double WarpTotal(const T* row, int64_t size) {
  std::vector<double> lanes(kImportanceLanes);
  for (int lane = 0; lane < kImportanceLanes; ++lane) lanes[lane] = ImportanceLaneSum<kind>(row, size, lane);
  for (int half = kImportanceLanes / 2; half > 0; half /= 2) {
    const std::vector<double> before = lanes;
    for (int lane = 0; lane < kImportanceLanes; ++lane) lanes[lane] = before[lane] + before[lane ^ half];
  }
  return lanes[0];
}

template <typename T>
class FilterImportanceCpuTest : public ::testing::Test {
 protected:
  static std::vector<T> NormalWeights(int64_t count) {
    RandomStream stream(1, "weights", static_cast<uint64_t>(count));
    std::vector<T> weights(count);
    for (T& weight : weights) weight = static_cast<T>(stream.Normal());
    return weights;
  }
};

using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(FilterImportanceCpuTest, Types);

// Mean |w| of (1, -2, 3) is 2, of (0, 0, -6) also 2; mean w^2 are 14 / 3 and 12.
TYPED_TEST(FilterImportanceCpuTest, HandComputedCase) {
  const std::vector<TypeParam> weights = {1, -2, 3, 0, 0, -6};
  std::vector<TypeParam> importance(2);
  FilterImportanceCpu(weights.data(), 2, 3, FilterImportanceKind::kL1, importance.data());
  EXPECT_EQ(importance, (std::vector<TypeParam>{2, 2}));
  FilterImportanceCpu(weights.data(), 2, 3, FilterImportanceKind::kL2, importance.data());
  EXPECT_EQ(importance, (std::vector<TypeParam>{static_cast<TypeParam>(14.0 / 3), 12}));
}

// Sizes around the number of lanes, and those of real filters.
TYPED_TEST(FilterImportanceCpuTest, EqualsThePlainReference) {
  for (const int64_t size : {1, 2, 27, 31, 32, 33, 64, 144, 147, 288, 576, 4608}) {
    constexpr int64_t kFilters = 5;
    const std::vector<TypeParam> weights = this->NormalWeights(kFilters * size);
    for (const FilterImportanceKind kind : kKinds) {
      std::vector<TypeParam> importance(kFilters), reference(kFilters);
      FilterImportanceCpu(weights.data(), kFilters, size, kind, importance.data());
      FilterImportanceReference(weights.data(), kFilters, size, kind, reference.data());
      for (int64_t f = 0; f < kFilters; ++f) {
        // One rounding to the type, and the sums' own in double.
        const double tolerance = std::numeric_limits<TypeParam>::epsilon() + size * 0x1p-53;
        EXPECT_NEAR(importance[f], reference[f], tolerance * reference[f]) << "size " << size;
      }
    }
  }
}

TYPED_TEST(FilterImportanceCpuTest, AddsInTheOrderOfAWarp) {
  for (const int64_t size : {1, 27, 31, 32, 33, 95, 144, 576}) {
    const std::vector<TypeParam> weights = this->NormalWeights(size);
    TypeParam l1, l2;
    FilterImportanceCpu(weights.data(), 1, size, FilterImportanceKind::kL1, &l1);
    FilterImportanceCpu(weights.data(), 1, size, FilterImportanceKind::kL2, &l2);
    EXPECT_EQ(l1, MeanImportance<TypeParam>(WarpTotal<FilterImportanceKind::kL1>(weights.data(), size), size));
    EXPECT_EQ(l2, MeanImportance<TypeParam>(WarpTotal<FilterImportanceKind::kL2>(weights.data(), size), size));
  }
}

TYPED_TEST(FilterImportanceCpuTest, AMaskKeepsWhatIsStrictlyAbove) {
  const TypeParam infinity = std::numeric_limits<TypeParam>::infinity();
  const TypeParam half = 0.5;
  const std::vector<TypeParam> importance = {
      0, half, std::nextafter(half, infinity), std::nextafter(half, TypeParam(0)), 2, infinity, std::nan("")};
  std::vector<TypeParam> mask(importance.size(), 7);
  ThresholdMaskCpu(importance.data(), importance.size(), &half, mask.data());
  EXPECT_EQ(mask, (std::vector<TypeParam>{0, 0, 1, 0, 1, 1, 0}));
}

}  // namespace
}  // namespace prunelab
