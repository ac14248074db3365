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

class Folder {
 public:
  // All of a graph's computed constants together may have so many elements. More than the file's own take memory that
  // the file does not account for.
  explicit Folder(const OnnxGraph& graph);

  // Whether the node's inputs are all known and the operator is one that is computed.
  static bool CanFold(const OnnxGraph& graph, const OnnxNode& node);

  // Computes the node's outputs. Errors: what does not fit, and results of more than 2^26 elements that are larger than
  // all of the inputs.
  absl::Status Fold(OnnxGraph& graph, int node);

  // All nodes that can be, in their order. Those that fail stay as they are: not all of them are needed.
  void FoldAll(OnnxGraph& graph);

 private:
  int64_t budget_ = 0;
};

}  // namespace prunelab
