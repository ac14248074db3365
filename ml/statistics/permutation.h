// The permutation test of two independent samples: under "both are draws of one distribution" any of the values might
// as well have been the treatment's. For arms that share no seeds; where they do, sign_flip.h is sharper.
#pragma once

#include <vector>

namespace prunelab {

struct PermutationTest {
  double p = 1;
  double standard_error = 0;  // of p where it was drawn; 0: exact
};

// Two-sided: the share of the choices of treatment.size() among all values whose difference of means is at least as far
// from 0 as the observed one, less 1e-12 (relative for differences above 1). All choices are counted where there are at
// most a million, else a fixed stream of 200,000 is drawn. 1 where a sample is empty.
PermutationTest PermuteSamples(const std::vector<double>& treatment, const std::vector<double>& control);

}  // namespace prunelab
