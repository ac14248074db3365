// The mistakes that an ablation can have besides those in its arms' configs: names, seeds, factors, comparisons,
// contrasts. Mistakes are added to `errors`.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "experiments/config/arms.h"
#include "experiments/config/places.h"

namespace prunelab {

// The ablation's own name, and its seeds.
void CheckNameAndSeeds(const Ablation& ablation, AblationErrors& errors);

// Factors and levels. False where arms cannot be made of them.
bool CheckFactors(const Ablation& ablation, AblationErrors& errors);

// Whether every glob of `exclude` and `include` matches one of the arms, and an arm is left to run.
void CheckSelection(const Ablation& ablation, const std::vector<ArmLevels>& arms, AblationErrors& errors);

// The trials of a search, which are all arms: whether they can be compared with each other, and are evaluated where the
// search looks at them.
void CheckTrials(const Ablation& ablation, const std::vector<Arm>& arms, AblationErrors& errors);

// Comparisons and contrasts: of arms that are run, which have what is compared. `arms`: those; `excluded`: the names of
// the others.
void CheckComparisons(const Ablation& ablation, const std::vector<Arm>& arms, const std::set<std::string>& excluded,
                      AblationErrors& errors);

}  // namespace prunelab
