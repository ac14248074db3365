// Writes a new version of a network node by node, while the old one is read.
//
//   NetworkRewriter rewriter(network);
//   for (const Node& node : network.network.node()) *rewriter.Append() = node;   // or something better
//   rewriter.Finish();                                                           // replaces network.network
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "ml/compression/weighted_network.h"
#include "ml/network/channel_pictures.h"
#include "ml/network/operator.h"

namespace prunelab {

class NetworkRewriter {
 public:
  explicit NetworkRewriter(WeightedNetwork& network);

  // The next node, empty.
  Node* Append() { return next_.add_node(); }
  // A copy of `node`, with the inputs' names that Rename gave them.
  Node Copy(const Node& node) const;
  Node* AppendCopy(const Node& node);
  // Consumers of `node` read `instead` from now on.
  void Rename(const std::string& node, const std::string& instead) { renamed_[node] = instead; }
  std::string NewName(const std::string& node) const;

  // The name for a node that the old network has not: until Finish a provisional one, then `base`, followed by a number
  // where another node has that name.
  std::string NewNode(const std::string& base);

  // Appends nodes that store the pictures of the channels that are not all zero: a constant and, if some channels are
  // zero, a scatter of it. Returns the name of the last node, or "" if all are zero.
  std::string AppendConstant(const std::string& base, const ChannelPictures& all, at::ScalarType dtype);

  // The same as a term of the sum `node`, whose shape was `shape`; a flatten follows if that is flat. If the shapes of
  // the other terms, `terms`, are all smaller than the sum was, the constant has its full size, zero or not.
  std::string AppendTerm(const Node& node, const NodeShape& shape, const std::vector<NodeShape>& terms,
                         const ChannelPictures& all, at::ScalarType dtype);

  // Appends a constant that stores all pictures, zero or not, at the height and width of `shape` or as features like
  // it.
  std::string AppendPart(const std::string& base, const NodeShape& shape, const ChannelPictures& all,
                         at::ScalarType dtype);

  // Of the parameters of node i of the old network only these channels remain.
  void NarrowParameters(const NetworkInfo& info, int i, const RemainingChannels& remaining);

  // Appends a sum, or nothing if there is only one input; returns its name.
  std::string AppendSum(const std::string& base, const std::vector<std::string>& inputs);

  // Appends the sum `node` with other inputs under its name. If there is only one, its consumers read that instead.
  void ReplaceSum(const Node& node, const std::vector<std::string>& inputs);

  // Appends a scatter of the channels that `kept` (bool [channels]) marks, or nothing if it marks all.
  std::string AppendScatter(const std::string& base, const std::string& input, const at::Tensor& kept);

  // Replaces the network. Its outputs are the old one's, or the nodes that they were renamed to. If it names none, its
  // last node is the output. Tensors of
  // removed nodes are dropped.
  void Finish();

 private:
  // The output of the new network in place of output `node` of the old one.
  std::string NewOutput(const std::string& node);
  // Appends a flatten of a constant where `shape` is flat; returns the last node's name.
  std::string AppendLayout(const std::string& constant, const NodeShape& shape);
  // Appends a constant and a scatter of it; `stored` (bool [channels]) says which channels it has, at least one.
  std::string AppendStored(const std::string& base, const ChannelPictures& all, const at::Tensor& stored,
                           bool full_size, at::ScalarType dtype);

  WeightedNetwork& network_;
  Network next_;
  std::map<std::string, std::string> renamed_;
  int new_nodes_ = 0;
};

// Whether one node, and nothing else, reads the value of node `i`.
bool IsReadOnce(const NetworkInfo& info, int i);

// The indices of true entries in a bool vector, int64.
at::Tensor WhereTrue(const at::Tensor& flags);

}  // namespace prunelab
