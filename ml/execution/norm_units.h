// Where a network has batch normalizations that can be done together with what follows them: norm (-> add) (-> ReLU). A
// clip from 0 on is a ReLU with a ceiling, such as ReLU6.
#pragma once

#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "ml/network/network.h"

namespace prunelab {

// Nodes by index; -1 if there is none. `other` is the node whose output the add adds to BN's, `output` the unit's last
// node.
struct NormUnit {
  int norm = -1, add = -1, relu = -1;
  int other = -1, output = -1;
  double ceiling = std::numeric_limits<double>::infinity();  // of the ReLU
};

// By node: whether its output depends on the image and therefore has the batch's size (a stored constant has a batch of
// one).
std::vector<bool> DependOnImage(const NetworkInfo& info);

// The only consumer of node `i`; -1 if there are several or none, or if its output is `captured` by name.
int OnlyReader(const NetworkInfo& info, const std::set<std::string>& captured, int i);

// Units in the order of their norms. No node is in two units, and the inner nodes of a unit have no other consumers.
// Only norms that `accepts`, given by index, begin a unit. `ceilings`: whether a unit may end in a ReLU with a ceiling.
std::vector<NormUnit> FindNormUnits(const NetworkInfo& info, const std::set<std::string>& captured, bool ceilings,
                                    const std::function<bool(int)>& accepts);

}  // namespace prunelab
