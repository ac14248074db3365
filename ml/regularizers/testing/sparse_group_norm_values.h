// Made by tools/reference/sparse_group_norm_values.py with torch-pruning 1.6.0.
#pragma once

#include <vector>

namespace prunelab {

struct SparseGroupNormGradient {
  const char* parameter;
  double projection;  // on cos(0.3 k)
  double norm;
};

inline const std::vector<SparseGroupNormGradient>& SparseGroupNormGradients() {
  static const auto& values = *new std::vector<SparseGroupNormGradient>{
      {"conv1.weight", -33.8324127223107, 62.2055644524105},
      {"bn1.weight", -2.18455355289709, 4.03997855575501},
      {"layer1.0.conv1.weight", 42.5367754915903, 129.730842809122},
      {"layer1.0.bn1.weight", 0.816812621515925, 5.12841960163074},
      {"layer1.0.conv2.weight", 24.820994551978, 129.734701304252},
      {"layer1.0.bn2.weight", -6.53787239298634, 9.03360263456466},
      {"layer2.0.conv1.weight", 36.6047348579338, 182.913497910329},
      {"layer2.0.bn1.weight", 3.45133687341722, 7.82345731808374},
      {"layer2.0.conv2.weight", -32.7556398941919, 287.914405263252},
      {"layer2.0.bn2.weight", 16.1388772783577, 15.1615651690764},
      {"layer2.0.downsample.0.weight", -21.2690592334431, 66.6897143591721},
      {"layer2.0.downsample.1.weight", -1.7063778655242, 9.71960441200018},
      {"layer3.0.conv1.weight", -4.12639305561306, 383.290757247186},
      {"layer3.0.bn1.weight", 2.22396653907795, 10.4998857997403},
      {"layer3.0.conv2.weight", 114.99267582, 472.504266458419},
      {"layer3.0.bn2.weight", -2.39381215519917, 10.5083035762284},
      {"layer3.0.downsample.0.weight", -5.61313142963316, 119.210617906573},
      {"layer3.0.downsample.1.weight", 7.06639879009942, 17.6071525609577},
      {"fc.weight", 21.4429965166868, 67.3232122926442},
  };
  return values;
}

}  // namespace prunelab
