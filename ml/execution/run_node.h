// Runs one node of a network by LibTorch's calls. Every plan uses it for the nodes that it does not fuse.
#pragma once

#include <ATen/core/Tensor.h>

#include <set>
#include <string>
#include <vector>

#include "ml/execution/forward_options.h"
#include "ml/execution/model.h"

namespace prunelab {

// The weight of a convolution, times its mask if it has one: then the backward pass gives the weight the gradient that
// the policy says.
at::Tensor ConvWeight(Model& model, const Node& node, GradientPolicy policy);

// The convolution by any weight; `bias` may be undefined.
at::Tensor RunConv(const Conv2d& conv, at::Tensor x, const at::Tensor& weight, const at::Tensor& bias);

// The output of `node` (not the image node) for the inputs `in`. In kTrain a BN node's running statistics change.
// `overwrite`: the first input has no other consumer and may become the output.
at::Tensor RunNode(Model& model, const Node& node, const std::vector<at::Tensor>& in, const ForwardOptions& options,
                   bool overwrite);

// Whether the first input of node `i` may be written over: not among those `captured` by name, and read by this node
// alone, and by no backward pass (those of convolution, batch norm, sum and linear layer read their inputs, that of a
// ReLU its output).
bool MayOverwrite(const NetworkInfo& info, int i, const std::set<std::string>& captured);

}  // namespace prunelab
