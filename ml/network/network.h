// Functions over a Network (network.proto): validation, shape inference, parameters, costs. No tensor is needed for
// any. What differs between operators is said by each of them (operator.h).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/network/network.pb.h"

namespace prunelab {

// The output of a node without its batch dimension: [C, H, W], or [features] if flat.
struct NodeShape {
  int64_t channels = 0;  // or features
  int64_t height = 1;
  int64_t width = 1;
  bool flat = false;
};

// The finite numbers that a parameter or buffer may hold.
enum class Allowed {
  kAny,
  kNotNegative,  // a variance
  kPositive,     // the scale of a grid
  kByte,         // a whole number from 0 to 255
};

// One parameter or buffer of a node.
struct NodeParameter {
  std::string suffix;          // PyTorch's, e.g. "running_mean"
  std::vector<int64_t> shape;  // empty for a scalar
  bool is_buffer = false;      // running statistics and constants: not trained
  bool is_integer = false;     // num_batches_tracked, int64
  bool is_constant = false;    // a stored value: counted by StoredConstantCount
  double initial = 0;          // the value of fresh ones, unless they are drawn at random
  bool is_shared = false;      // one number for all channels, as [1]
  Allowed allowed = Allowed::kAny;
};

// The same of a network.
struct ParameterSpec {
  std::string name;            // e.g. "layer1.0.bn1.running_mean"
  std::string node;            // the node that owns it
  std::vector<int64_t> shape;  // as in NodeParameter, and all that follows
  bool is_buffer = false;
  bool is_integer = false;
  bool is_constant = false;
  double initial = 0;
  Allowed allowed = Allowed::kAny;
};

// A node with the shapes of its inputs and its own.
struct NodeView {
  const Node& node;
  std::vector<NodeShape> inputs;
  NodeShape shape;
};

class Operator;  // operator.h

// A convolution that can be pruned by filters.
struct ConvInfo {
  std::string node;
  int64_t filters = 0;             // output channels
  int64_t weights_per_filter = 0;  // in / groups * kernel_height * kernel_width
  int64_t kernel_height = 1, kernel_width = 1;
  int64_t output_height = 0, output_width = 0;
};

// The number of rows and columns that a constant node stores.
int64_t StoredRows(const Constant& constant);
int64_t StoredColumns(const Constant& constant);

// A network that was checked once, with everything that follows from it. Immutable.
class NetworkInfo {
 public:
  // Refuses, and names the node: duplicate or empty names, unknown or later inputs (cycles), a wrong number of inputs,
  // missing or non-positive sizes, outputs that are unknown or repeated, shapes that do not fit, groups that do not
  // divide, scatter indices that are out of range or repeated.
  static absl::StatusOr<NetworkInfo> Create(Network network);

  const Network& network() const { return network_; }
  const Node& node(int index) const { return network_.node(index); }
  // The index of the node; -1 if there is none.
  int Index(const std::string& name) const;
  const NodeShape& shape(int index) const { return shapes_[index]; }
  const NodeShape& shape(const std::string& name) const { return shapes_[Index(name)]; }
  // Index of the images' node.
  int image() const { return image_; }
  const NodeShape& input_shape() const { return shapes_[image_]; }
  // Indices of the nodes whose values the network returns, the logits first; at least one.
  const std::vector<int>& outputs() const { return outputs_; }
  bool IsOutput(int index) const;
  // What the values of outputs()[k] are called: "logits" for the first, the others by their nodes.
  std::string ResultName(size_t k) const;
  // Channels of the first output. OK if they are logits of classes: flat, so that an accuracy can be told.
  int64_t classes() const { return shapes_[outputs_[0]].channels; }
  absl::Status CheckLogits() const;
  // The indices of a node's inputs and of its consumers.
  const std::vector<int>& inputs(int index) const { return inputs_[index]; }
  const std::vector<int>& users(int index) const { return users_[index]; }
  // What the node does, and the node as its operator is asked about it.
  const Operator& op(int index) const;
  NodeView View(int index) const;

  // In the order of the nodes; within a node weight, bias, then buffers, as in PyTorch's state_dict.
  const std::vector<ParameterSpec>& parameters() const { return parameters_; }
  const std::vector<ConvInfo>& convs() const { return convs_; }
  // Of the fresh weights of the convolution `index`: what the node says, else He et al. 2015 (fan-out).
  double InitialDeviation(int index) const;

  int64_t ParameterCount() const;       // weights and biases, without buffers
  int64_t StoredConstantCount() const;  // numbers stored in constant nodes
  int64_t FilterCount() const;          // of all convolutions
  int64_t ConvWeightCount() const;
  // Multiply-accumulates for one image.
  int64_t MacCount() const;
  int64_t MacCount(int index) const;

 private:
  // In the order of the nodes: each names its inputs, then what follows from them is inferred.
  absl::Status FindInputs(int index);
  absl::Status Infer(int index);
  absl::Status FindOutputs();

  Network network_;
  int image_ = 0;
  std::map<std::string, int> index_;
  std::vector<NodeShape> shapes_;
  std::vector<std::vector<int>> inputs_, users_;
  std::vector<int> outputs_;
  std::vector<ParameterSpec> parameters_;
  std::vector<ConvInfo> convs_;
};

}  // namespace prunelab
