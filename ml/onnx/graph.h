// The graph of an ONNX file as this folder works with it: numbered values, of which some are known constants, and
// nodes in topological order. Everything was checked when it was read (read_graph.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// An attribute of a node. Which of these it has tells its type.
struct OnnxAttribute {
  std::vector<int64_t> ints;   // INT, INTS
  std::vector<double> floats;  // FLOAT, FLOATS: the decimal numbers that round to the stored ones, 1e-5 and not 9.99e-6
  std::string text;            // STRING
  at::Tensor tensor;           // TENSOR
};

struct OnnxValue {
  std::string name;
  at::Tensor constant;  // on the CPU; undefined: depends on the images
  int producer = -1;    // the node; -1 for inputs and initializers
};

struct OnnxNode {
  std::string op;                   // "Conv"; of another domain than ONNX's own "com.microsoft.FusedConv"
  std::string name;                 // as stored, may be empty
  std::vector<std::string> scopes;  // the modules around it and its own name, as PyTorch's exporters tell them
  std::map<std::string, OnnxAttribute> attributes;
  std::vector<int> inputs;  // values; -1: left out
  std::vector<int> outputs;
};

struct OnnxGraph {
  int64_t opset = 0;
  std::vector<OnnxValue> values;
  std::vector<OnnxNode> nodes;
  int images = -1;                   // the value
  std::vector<int64_t> image_sizes;  // [batch, channels, height, width]; batch 0: any
  std::vector<int> outputs;          // values

  const at::Tensor& Constant(int value) const { return values[value].constant; }
  bool IsConstant(int value) const { return value >= 0 && values[value].constant.defined(); }
  // The value of input k of a node; -1 if it is left out.
  static int Input(const OnnxNode& node, size_t k) { return k < node.inputs.size() ? node.inputs[k] : -1; }
  // The node that computes a value; nullptr if none does.
  const OnnxNode* Producer(int value) const;
};

// How often a value is read by nodes or is an output, by value.
std::vector<int> CountUsers(const OnnxGraph& graph);

// `text` in quotes and cut to a readable length, for messages: a file may say anything.
std::string Quoted(absl::string_view text);

// "[3, 32, 32]".
std::string SizesText(const std::vector<int64_t>& sizes);

// Which node it is: "node "conv1" (Conv)".
std::string Describe(const OnnxNode& node);

// InvalidArgument: "node "conv1" (Conv): <message>".
absl::Status NodeRefused(const OnnxNode& node, absl::string_view message);

// Attributes with their defaults.
bool HasAttribute(const OnnxNode& node, const char* name);
int64_t IntAttribute(const OnnxNode& node, const char* name, int64_t otherwise);
double FloatAttribute(const OnnxNode& node, const char* name, double otherwise);
std::string TextAttribute(const OnnxNode& node, const char* name, const std::string& otherwise);
std::vector<int64_t> IntsAttribute(const OnnxNode& node, const char* name, std::vector<int64_t> otherwise);

// Whether input k is there.
bool HasInput(const OnnxNode& node, size_t k);

// Integers that are an attribute in old opsets and input k in later ones; an input counts. `otherwise` where neither is
// there. Errors: the input depends on the images, or is not of integers.
absl::StatusOr<std::vector<int64_t>> IntsOf(const OnnxGraph& graph, const OnnxNode& node, const char* attribute,
                                            size_t k, std::vector<int64_t> otherwise);

// The same of one number.
absl::StatusOr<double> NumberOf(const OnnxGraph& graph, const OnnxNode& node, const char* attribute, size_t k,
                                double otherwise);

// The tensor of input k, which must not depend on the images.
absl::StatusOr<at::Tensor> ConstantInput(const OnnxGraph& graph, const OnnxNode& node, size_t k);

// A tensor's values as integers or floating numbers.
std::vector<int64_t> ToInts(const at::Tensor& tensor);

}  // namespace prunelab
