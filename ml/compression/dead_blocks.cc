#include "ml/compression/dead_blocks.h"

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <vector>

#include "ml/compression/channel_analysis.h"
#include "ml/compression/network_rewriter.h"

namespace prunelab {
namespace {

class Sums {
 public:
  explicit Sums(const ChannelAnalysis& analysis) : a_(analysis) {}

  // The live inputs of an add, and the sum of the pictures that its other inputs contribute. An add that only this one
  // reads, and that passes on a single live input, is taken apart. Returns whether anything was found besides the add's
  // own inputs.
  bool Collect(int sum, std::vector<int>& live, ChannelPictures& pictures) const {
    const NodeShape& shape = a_.info.shape(sum);
    bool changes = false;
    for (size_t k = 0; k < a_.info.inputs(sum).size(); ++k) {
      const int input = a_.info.inputs(sum)[k];
      if (!a_.Contributes(sum, k)) {
        pictures = SumOf(pictures, a_.constants[input], shape.height, shape.width);
        changes = true;
      } else if (PassesOn(input) && a_.info.users(input).size() == 1 && a_.info.shape(input).height == shape.height &&
                 a_.info.shape(input).width == shape.width) {
        Collect(input, live, pictures);
        changes = true;
      } else {
        live.push_back(input);
      }
    }
    return changes;
  }

 private:
  bool PassesOn(int i) const { return a_.info.node(i).op_case() == Node::kAdd && !a_.IsResidualSum(i); }

  const ChannelAnalysis& a_;
};

}  // namespace

void DropDeadBlocks(WeightedNetwork& network, const ChannelAnalysis& analysis) {
  {
    const Sums sums(analysis);
    NetworkRewriter rewriter(network);
    for (int i = 0; i < analysis.info.network().node_size(); ++i) {
      const Node& node = analysis.info.node(i);
      if (node.op_case() == Node::kRelu) {
        const int input = analysis.info.inputs(i)[0];
        if (analysis.info.node(analysis.info.Index(rewriter.NewName(analysis.info.node(input).name()))).op_case() ==
            Node::kRelu) {
          rewriter.Rename(node.name(), rewriter.NewName(analysis.info.node(input).name()));
          continue;
        }
      }
      if (node.op_case() != Node::kAdd || !analysis.AnyKept(i)) {
        rewriter.AppendCopy(node);
        continue;
      }
      std::vector<int> live;
      const NodeShape& shape = analysis.info.shape(i);
      ChannelPictures pictures = ZeroPictures(shape.channels, shape.height, shape.width);
      const bool changes = sums.Collect(i, live, pictures);
      std::vector<std::string> inputs;
      std::vector<NodeShape> terms;
      for (const int input : live) {
        inputs.push_back(rewriter.NewName(analysis.info.node(input).name()));
        terms.push_back(analysis.info.shape(input));
      }
      const std::string constant =
          changes ? rewriter.AppendTerm(node, shape, terms, pictures, network.DType()) : std::string();
      if (!constant.empty()) inputs.push_back(constant);
      rewriter.ReplaceSum(node, inputs);
    }
    rewriter.Finish();
  }
  DropUnusedNodes(network);
}

void DropUnusedNodes(WeightedNetwork& network) {
  const NetworkInfo info = network.Info();
  std::vector<bool> used(info.network().node_size(), false);
  for (const int output : info.outputs()) used[output] = true;
  for (int i = info.network().node_size() - 1; i >= 0; --i) {
    if (!used[i]) continue;
    for (const int input : info.inputs(i)) used[input] = true;
  }
  NetworkRewriter rewriter(network);
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (used[i] || i == info.image()) rewriter.AppendCopy(info.node(i));
  }
  rewriter.Finish();
}

}  // namespace prunelab
