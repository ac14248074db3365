// Names for the nodes of an imported network. PyTorch's names of modules are kept wherever the file has them: in the
// names of its initializers, or in what the exporters say of the modules around a node.
#pragma once

#include <string>
#include <vector>

#include "ml/onnx/graph.h"
#include "ml/onnx/network_builder.h"

namespace prunelab {

// `parameters`: the values that become the node's parameters; empty for a node without any.
NameHint NameOf(const OnnxGraph& graph, const OnnxNode& node, const std::vector<int>& parameters);

}  // namespace prunelab
