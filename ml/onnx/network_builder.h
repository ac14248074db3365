// Writes the network of an imported file node by node, with the parameters. Shapes are known at once. Names,
// nodes that nothing needs, and what can be one node instead of two, are seen to at the end.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/network/network.h"

namespace prunelab {

// How a node is to be called.
struct NameHint {
  std::string name;
  int rank = 2;  // how sure that is its name: 0, its parameters have it; 1, the module does; 2, it is made up
};

struct BuiltNode {
  Node op;  // without inputs
  std::vector<int> inputs;
  NodeShape shape;
  std::map<std::string, at::Tensor> tensors;  // by suffix: "weight"
  NameHint name;
};

class NetworkBuilder {
 public:
  // `budget`: how many elements all tensors that are made anew (repeated, turned, converted) may have together. A small
  // file can name one tensor in many nodes.
  explicit NetworkBuilder(int64_t budget) : budget_(budget) {}

  // Appends a node with what it does, and returns its index. Parameters are made float32 unless they are float64.
  // Errors: inputs, fields or tensors that do not fit; they do not name the node.
  absl::StatusOr<int> Emit(Node op, std::vector<int> inputs, std::map<std::string, at::Tensor> tensors, NameHint hint);

  const BuiltNode& node(int index) const { return nodes_[index]; }
  NodeShape shape(int index) const { return nodes_[index].shape; }
  int size() const { return static_cast<int>(nodes_.size()); }

  // Joins nodes that are one node of the network: scales with the norms and biases with the layers before them,
  // selections with scatters, what is done to rows with the same done to columns. `outputs`: the nodes whose values are
  // the network's.
  void Merge(std::vector<int>& outputs);

  // The network of the nodes that `outputs` need. The first is the logits. They are named in it where they
  // are more than one, or maps.
  Network Take(const std::vector<int>& outputs, std::map<std::string, at::Tensor>& tensors);

 private:
  // A name for each needed node: those of the surest first, and a number after what is taken.
  std::vector<std::string> UniqueNames(const std::vector<bool>& needed) const;
  std::vector<bool> Needed(const std::vector<int>& outputs) const;
  bool MergeInto(int before, int scale);
  absl::Status Store(at::Tensor& tensor);

  std::vector<BuiltNode> nodes_;
  int64_t budget_;
};

}  // namespace prunelab
