// Turns a graph of ONNX into a network, node by node in their order. Each operator is a function that reads a node's
// inputs, writes nodes of the network, and says what the node's outputs are; the functions are in converters/, by what
// the operators do. Operators that only rearrange values write nothing: they change the view (view.h) alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/network/network.h"
#include "ml/onnx/fold.h"
#include "ml/onnx/graph.h"
#include "ml/onnx/network_builder.h"
#include "ml/onnx/view.h"

namespace prunelab {

// A value that depends on the images: that of a node of the network, as ONNX's node sees it.
struct Live {
  int node = -1;
  View view;
};

class Converter;
using ConvertFunction = absl::Status (*)(Converter&, const OnnxNode&);
using ConvertTable = std::map<std::string, ConvertFunction>;

// The operators that are known, by name.
const ConvertTable& Converters();

class Converter {
 public:
  // The batch that shapes are computed with where the file leaves it open: a prime that no other size is a multiple of.
  static constexpr int64_t kAnyBatch = 4099;

  // `folder`: what may be computed yet.
  Converter(OnnxGraph& graph, Folder& folder);

  // The network and its tensors, by name, and what the user should know.
  absl::Status Run(Network& network, std::map<std::string, at::Tensor>& tensors, std::vector<std::string>& notes);

  const OnnxGraph& graph() const { return graph_; }
  NodeShape shape(const Live& live) const { return builder_.shape(live.node); }
  int64_t batch() const { return batch_; }

  // Input k of the node.
  bool IsConstant(const OnnxNode& node, size_t k) const { return graph_.IsConstant(OnnxGraph::Input(node, k)); }
  absl::StatusOr<at::Tensor> Constant(const OnnxNode& node, size_t k) const { return ConstantInput(graph_, node, k); }
  // One that depends on the images, or a constant of one image, which becomes a node.
  absl::StatusOr<Live> Input(const OnnxNode& node, size_t k);
  // The same where maps [N, C, H, W], or flat features [N, F], are needed, in the order of the network's nodes: writes
  // the nodes that make them so.
  absl::StatusOr<int> MapInput(const OnnxNode& node, size_t k);
  absl::StatusOr<int> FlatInput(const OnnxNode& node, size_t k);
  absl::StatusOr<Live> AsMap(const OnnxNode& node, const Live& live);
  absl::StatusOr<Live> AsFlat(const OnnxNode& node, const Live& live);
  // Of either kind: two dimensions are flat, four are maps.
  absl::StatusOr<Live> AsIs(const OnnxNode& node, const Live& live);
  // The channels in another order.
  absl::StatusOr<Live> Selected(const OnnxNode& node, const Live& live, int d, const std::vector<int64_t>& indices);

  // Says what output k of the node is.
  void SetOutput(const OnnxNode& node, size_t k, Live live);
  void SetOutput(const OnnxNode& node, const Live& live) { SetOutput(node, 0, live); }
  // The same for the whole value of a node of the network.
  void SetOutput(const OnnxNode& node, int built) { SetOutput(node, 0, Whole(built)); }
  Live Whole(int built) const { return {built, WholeView(batch_, builder_.shape(built))}; }

  // Appends a node to the network. `parameters`: the values that its tensors come from.
  absl::StatusOr<int> Emit(const OnnxNode& node, prunelab::Node op, std::vector<int> inputs,
                           std::map<std::string, at::Tensor> tensors = {}, const std::vector<int>& parameters = {});
  // The same for what makes one output of one input, value by value: the view stays.
  absl::StatusOr<Live> EmitOn(const OnnxNode& node, prunelab::Node op, const Live& input,
                              std::map<std::string, at::Tensor> tensors = {}, const std::vector<int>& parameters = {});

 private:
  absl::Status Start();
  absl::Status Convert(int node);
  absl::Status ConvertShape(const OnnxNode& node);
  // Whether a constant is repeated for each image of a batch that is open. As a constant of one image it is repeated
  // wherever it is used.
  bool RepeatsBatch(const OnnxNode& node) const;
  absl::Status ExpandImage(const OnnxNode& node);
  absl::Status CheckConverted(const OnnxNode& node) const;
  absl::StatusOr<std::vector<int>> Outputs();
  std::vector<bool> NeededNodes() const;
  absl::StatusOr<Live> Unflattened(const OnnxNode& node, const Live& flat);
  void NoteShared(const OnnxNode& node, const std::vector<int>& parameters);

  OnnxGraph& graph_;
  Folder& folder_;
  NetworkBuilder builder_;
  std::vector<int> users_;
  std::vector<std::optional<Live>> live_;  // by value
  int64_t batch_ = kAnyBatch;
  int64_t selected_ = 0;       // how many channels all selections have
  std::map<int, int> owners_;  // by value: how many nodes have it as parameter
};

}  // namespace prunelab
