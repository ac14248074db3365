#include "ml/compression/constant_output.h"

#include <ATen/ATen.h>

#include "ml/compression/channel_analysis.h"
#include "ml/compression/network_rewriter.h"

namespace prunelab {

namespace {

// Outputs that a network names, of which others may be live.
void StoreConstantOutputs(WeightedNetwork& network, const ChannelAnalysis& analysis) {
  NetworkRewriter rewriter(network);
  for (int i = 0; i < analysis.info.network().node_size(); ++i) {
    const Node& node = analysis.info.node(i);
    if (!analysis.info.IsOutput(i) || !analysis.IsConstant(i) || analysis.IsStored(i)) {
      rewriter.AppendCopy(node);
      continue;
    }
    rewriter.Rename(node.name(),
                    rewriter.AppendPart(node.name(), analysis.info.shape(i), analysis.constants[i], network.DType()));
  }
  rewriter.Finish();
}

}  // namespace

void ReplaceConstantOutput(WeightedNetwork& network, const ChannelAnalysis& analysis) {
  if (!network.network.output().empty()) {
    StoreConstantOutputs(network, analysis);
    return;
  }
  const int output = analysis.info.outputs()[0];
  if (analysis.live[output].any().item<bool>()) return;
  const Node& last = analysis.info.node(output);
  if (last.op_case() == Node::kLinear && !network.Get(last.name(), "weight").ne(0).any().item<bool>() &&
      analysis.info.network().node_size() == 4) {
    return;  // already replaced
  }
  const at::Tensor logits = analysis.constants[output].values.view(-1);
  const at::ScalarType dtype = network.DType();
  NetworkRewriter rewriter(network);
  const auto append = [&](const std::string& name, const std::string& input) {
    Node* node = rewriter.Append();
    node->set_name(name);
    node->add_input(input);
    return node;
  };
  const std::string image = rewriter.AppendCopy(analysis.info.node(analysis.info.image()))->name();
  Node* pool = append(rewriter.NewNode("constant.avgpool"), image);
  pool->mutable_global_average_pool();
  Node* flatten = append(rewriter.NewNode("constant.flatten"), pool->name());
  flatten->mutable_flatten();
  Linear* linear = append(last.name(), flatten->name())->mutable_linear();
  linear->set_out_features(logits.numel());
  network.Set(last.name(), "weight",
              at::zeros({logits.numel(), analysis.info.input_shape().channels}, at::TensorOptions(dtype)));
  network.Set(last.name(), "bias", logits.to(dtype));
  rewriter.Finish();
}

}  // namespace prunelab
