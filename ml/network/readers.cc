#include "ml/network/readers.h"

#include "ml/base/check.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

// The only consumer of node `i`, -1 if there are none or several.
int OnlyReader(const NetworkInfo& network, int i) {
  return network.users(i).size() == 1 && !network.IsOutput(i) ? network.users(i)[0] : -1;
}

int IndexOf(const NetworkInfo& network, const std::string& conv) {
  const int i = network.Index(conv);
  PRUNELAB_CHECK(i >= 0 && network.node(i).op_case() == Node::kConv2D) << conv << " is no convolution";
  return i;
}

}  // namespace

std::string OwnBatchNorm(const NetworkInfo& network, const std::string& conv) {
  const int reader = OnlyReader(network, IndexOf(network, conv));
  return reader >= 0 && network.node(reader).op_case() == Node::kBatchNorm2D ? network.node(reader).name() : "";
}

std::map<std::string, std::string> OwnBatchNorms(const NetworkInfo& network, const std::set<std::string>& convs) {
  std::map<std::string, std::string> batch_norms;
  for (const std::string& conv : convs) {
    const std::string batch_norm = OwnBatchNorm(network, conv);
    if (!batch_norm.empty()) batch_norms[conv] = batch_norm;
  }
  return batch_norms;
}

std::optional<InnerConvolution> ReadByOneConvolution(const NetworkInfo& network, const std::string& conv) {
  InnerConvolution inner;
  int last = IndexOf(network, conv);
  for (int i = OnlyReader(network, last); i >= 0; last = i, i = OnlyReader(network, i)) {
    const Node& node = network.node(i);
    if (node.op_case() == Node::kConv2D) {
      if (node.conv2d().groups() != 1) return std::nullopt;
      inner.features = network.node(last).name();
      inner.reader = node.name();
      return inner;
    }
    const ChannelRelation relation = network.op(i).Channels(network.View(i));
    if (relation.kind != ChannelRelation::Kind::kSame || network.inputs(i).size() != 1) return std::nullopt;
    if (node.op_case() == Node::kBatchNorm2D) inner.batch_norms.push_back(node.name());
  }
  return std::nullopt;
}

std::string FeatureMap(const NetworkInfo& network, const std::string& conv) {
  int last = IndexOf(network, conv);
  for (int i = OnlyReader(network, last); i >= 0; last = i, i = OnlyReader(network, i)) {
    const Node::OpCase op = network.node(i).op_case();
    if (op == Node::kRelu) return network.node(i).name();
    if (op != Node::kBatchNorm2D && op != Node::kAdd && op != Node::kDropout) break;
  }
  return network.node(last).name();
}

}  // namespace prunelab
