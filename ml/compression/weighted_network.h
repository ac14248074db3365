// A network with its values, which the passes of this folder rewrite.
//
// Tensors have the names of NetworkInfo::parameters() ("layer1.0.conv1.weight"). Masks are already multiplied into the
// weights: a dead filter is one whose weights are all zero, for whatever reason.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "ml/network/network.h"

namespace prunelab {

struct WeightedNetwork {
  Network network;                            // accepted by NetworkInfo::Create
  std::map<std::string, at::Tensor> tensors;  // parameters and buffers; on the CPU, detached

  NetworkInfo Info() const;
  const at::Tensor& Get(const std::string& node, const char* suffix) const;
  bool Has(const std::string& node, const char* suffix) const;
  at::ScalarType DType() const;  // of the weights
  void Set(const std::string& node, const char* suffix, const at::Tensor& tensor);
  // Drops the tensors of nodes that no longer exist.
  void DropUnownedTensors();
};

}  // namespace prunelab
