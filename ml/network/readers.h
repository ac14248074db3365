// Who reads a convolution's output: for strategies that look at a filter's batch norm, at its feature map, or at the
// convolution that reads it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ml/network/network.h"

namespace prunelab {

// The batch norm that is the only consumer of `conv`'s output; empty if there is none.
std::string OwnBatchNorm(const NetworkInfo& network, const std::string& conv);

// The same of those of `convs` that have one, by convolution.
std::map<std::string, std::string> OwnBatchNorms(const NetworkInfo& network, const std::set<std::string>& convs);

// A convolution whose output comes through nodes that keep channels apart (batch norm, ReLU, pooling), each read by the
// next alone, to one other convolution without groups: so each filter is one input channel of the reader and nothing
// else.
struct InnerConvolution {
  std::vector<std::string> batch_norms;  // on the way
  std::string features;                  // the node that the reader reads
  std::string reader;
};
std::optional<InnerConvolution> ReadByOneConvolution(const NetworkInfo& network, const std::string& conv);

// The feature map of a convolution: the first ReLU after it, through batch norm, dropout and sums, on the path on which
// each node's only consumer is the next; if there is no such ReLU, the last node of that path.
std::string FeatureMap(const NetworkInfo& network, const std::string& conv);

}  // namespace prunelab
