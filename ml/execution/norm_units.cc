#include "ml/execution/norm_units.h"

#include <algorithm>

namespace prunelab {

std::vector<bool> DependOnImage(const NetworkInfo& info) {
  const int size = info.network().node_size();
  std::vector<bool> depend(size, false);
  for (int i = 0; i < size; ++i) {
    depend[i] = info.node(i).op_case() == Node::kImage;
    for (const int j : info.inputs(i)) depend[i] = depend[i] || depend[j];
  }
  return depend;
}

int OnlyReader(const NetworkInfo& info, const std::set<std::string>& captured, int i) {
  const bool only = info.users(i).size() == 1 && captured.count(info.node(i).name()) == 0;
  return only ? info.users(i)[0] : -1;
}

namespace {

// Whether `node` is a ReLU with a ceiling.
bool IsClippedRelu(const Node& node) {
  return node.elementwise().function() == Elementwise::CLIP && node.elementwise().low() == 0;
}

// A sum may repeat one of its terms at each pixel.
bool HaveOneShape(const NetworkInfo& info, const std::vector<int>& nodes) {
  return std::all_of(nodes.begin(), nodes.end(), [&](int i) {
    const NodeShape &shape = info.shape(i), &first = info.shape(nodes[0]);
    return shape.channels == first.channels && shape.height == first.height && shape.width == first.width;
  });
}

}  // namespace

std::vector<NormUnit> FindNormUnits(const NetworkInfo& info, const std::set<std::string>& captured, bool ceilings,
                                    const std::function<bool(int)>& accepts) {
  const int size = info.network().node_size();
  const std::vector<bool> depends_on_image = DependOnImage(info);
  std::vector<bool> taken(size, false);
  std::vector<NormUnit> units;
  for (int i = 0; i < size; ++i) {
    if (info.node(i).op_case() != Node::kBatchNorm2D || !depends_on_image[i] || !accepts(i)) continue;
    NormUnit unit;
    unit.norm = unit.output = i;
    const int reader = OnlyReader(info, captured, i);
    if (reader >= 0 && info.node(reader).op_case() == Node::kAdd && !taken[reader]) {
      const std::vector<int>& in = info.inputs(reader);
      const int other = in.size() == 2 && in[0] != in[1] ? (in[0] == i ? in[1] : in[0]) : -1;
      if (other >= 0 && depends_on_image[other] && HaveOneShape(info, {i, other, reader})) {
        unit.add = unit.output = reader;
        unit.other = other;
      }
    }
    const int last = OnlyReader(info, captured, unit.output);
    if (last >= 0 && info.node(last).op_case() == Node::kRelu) unit.relu = unit.output = last;
    if (last >= 0 && ceilings && IsClippedRelu(info.node(last))) {
      unit.relu = unit.output = last;
      unit.ceiling = info.node(last).elementwise().high();
    }
    for (const int node : {unit.norm, unit.add, unit.relu}) {
      if (node >= 0) taken[node] = true;
    }
    units.push_back(unit);
  }
  return units;
}

}  // namespace prunelab
