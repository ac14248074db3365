// Student's t-tests, all two-sided.
//
//   const std::optional<TTest> paired = PairedTTest(Differences(treatment, control));
//   const std::optional<TTest> independent = WelchTest(treatment, control);
//
// Samples without spread: a difference other than 0 has t infinite and p 0; a difference of 0 has t 0 and p 1.
#pragma once

#include <optional>
#include <vector>

namespace prunelab {

struct TTest {
  double t = 0, degrees_of_freedom = 0, p = 1;
};

// Tests whether the differences' mean is 0. Needs at least two differences.
std::optional<TTest> PairedTTest(const std::vector<double>& differences);

// Tests whether two independent samples have the same mean, with any variances (Welch 1947, degrees of freedom by
// Satterthwaite). Needs at least two values each.
std::optional<TTest> WelchTest(const std::vector<double>& treatment, const std::vector<double>& control);

// Tests whether the weighted sum of independent samples' means is 0; the weights add up to 0. With two samples and the
// weights 1 and -1 it is WelchTest.
std::optional<TTest> WelchContrast(const std::vector<std::vector<double>>& samples, const std::vector<double>& weights);

// P(T <= t) and P(T > t) of Student's distribution; t may be infinite.
double StudentLowerTail(double t, double degrees_of_freedom);
double StudentUpperTail(double t, double degrees_of_freedom);

}  // namespace prunelab
