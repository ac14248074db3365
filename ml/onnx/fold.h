// Nodes that do not depend on the images are computed when the graph is read: shapes, and parameters that an exporter
// transposed, cast, or shared.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/onnx/graph.h"

namespace prunelab {

// What a Shape node returns for a value of these sizes.
absl::StatusOr<at::Tensor> ShapeTensor(const OnnxNode& node, const std::vector<int64_t>& sizes);

// How many elements may be made of a graph's constants: some, and a few times those that there are. More take memory
// that the file does not account for.
int64_t ElementBudget(const OnnxGraph& graph);

class Folder {
 public:
  explicit Folder(const OnnxGraph& graph) : budget_(ElementBudget(graph)) {}

  // Whether the node's inputs are all known and the operator is one that is computed.
  static bool CanFold(const OnnxGraph& graph, const OnnxNode& node);

  // Computes the node's outputs. Errors: what does not fit, and results of more than 2^26 elements that are larger than
  // all of the inputs.
  absl::Status Fold(OnnxGraph& graph, int node);

  // All nodes that can be, in their order. Those that fail stay as they are: not all of them are needed.
  void FoldAll(OnnxGraph& graph);

 private:
  int64_t budget_;  // elements that computed constants may have yet
};

}  // namespace prunelab
