// The squared norms of groups of coupled channels (ml/network/channel_groups.h): of the filters that write a group's
// channels, the weights that read them, and the scales of the batch norms on them.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <map>
#include <string>
#include <vector>

#include "ml/network/channel_groups.h"
#include "ml/network/network.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

class CoupledNorms {
 public:
  explicit CoupledNorms(const NetworkInfo& network);

  // By set of groups with parts of the same layers (GroupSet): the sum of the squares of the applied weights of each
  // group, [groups], in the order of their first filters. Can be differentiated in the layers' weights. `layers` are
  // all of the network's.
  std::vector<at::Tensor> Squares(const std::vector<RegularizedLayer>& layers) const;

 private:
  enum class Part { kFilters, kReaders, kScales };
  // What a node has of each group of a set.
  struct Term {
    std::string node;
    Part part;
    // The channels of each group, int64 [groups, most channels]; where a group has fewer, the number of all channels. A
    // device gets it once: each copy would wait for the host.
    at::Tensor channels;
    mutable at::Tensor on_device;
  };

  static at::Tensor On(const Term& term, at::Device device);

  const NetworkInfo network_;
  std::vector<std::vector<Term>> sets_;
};

}  // namespace prunelab
