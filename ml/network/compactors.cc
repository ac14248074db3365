#include "ml/network/compactors.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/network/readers.h"

namespace prunelab {

std::string CompactorOf(const std::string& conv) { return absl::StrCat(conv, ".compactor"); }

bool IsCompactor(const Node& node) { return node.op_case() == Node::kConv2D && node.conv2d().initial_identity(); }

bool HasCompactors(const NetworkInfo& network) {
  const auto& nodes = network.network().node();
  return std::any_of(nodes.begin(), nodes.end(), &IsCompactor);
}

absl::StatusOr<Network> WithCompactors(const NetworkInfo& network, const std::vector<std::string>& convs) {
  std::map<std::string, std::string> conv_before;  // by the node that a compactor follows
  for (const std::string& conv : convs) {
    PRUNELAB_CHECK(network.node(network.Index(conv)).conv2d().groups() == 1) << conv << " has groups";
    if (network.Index(CompactorOf(conv)) >= 0) {
      return absl::InvalidArgumentError(absl::StrCat("\"", conv, "\" has a compactor already"));
    }
    const std::string batch_norm = OwnBatchNorm(network, conv);
    conv_before[batch_norm.empty() ? conv : batch_norm] = conv;
  }
  const auto name_now = [&](const std::string& name) {
    const auto found = conv_before.find(name);
    return found == conv_before.end() ? name : CompactorOf(found->second);
  };
  Network with;
  for (const Node& node : network.network().node()) {
    Node& copy = *with.add_node();
    copy = node;
    for (std::string& input : *copy.mutable_input()) input = name_now(input);
    const auto found = conv_before.find(node.name());
    if (found == conv_before.end()) continue;
    Node& compactor = *with.add_node();
    compactor.set_name(CompactorOf(found->second));
    compactor.add_input(node.name());
    Conv2d& conv = *compactor.mutable_conv2d();
    conv.set_out_channels(network.shape(network.Index(node.name())).channels);
    conv.set_kernel_height(1);
    conv.set_kernel_width(1);
    conv.set_initial_identity(true);
  }
  for (const std::string& output : network.network().output()) with.add_output(name_now(output));
  return with;
}

std::vector<MergeableCompactor> MergeableCompactors(const NetworkInfo& network) {
  const auto is_read_once = [&](int i) { return network.users(i).size() == 1 && !network.IsOutput(i); };
  std::vector<MergeableCompactor> mergeable;
  for (int i = 0; i < network.network().node_size(); ++i) {
    if (!IsCompactor(network.node(i))) continue;
    MergeableCompactor found = {i, network.inputs(i)[0]};
    if (!is_read_once(found.conv)) continue;
    if (network.node(found.conv).op_case() == Node::kBatchNorm2D) {
      found.batch_norm = found.conv;
      found.conv = network.inputs(found.batch_norm)[0];
      if (!is_read_once(found.conv)) continue;
    }
    const Node& conv = network.node(found.conv);
    // A compactor of a compactor stays.
    if (conv.op_case() != Node::kConv2D || conv.conv2d().groups() != 1 || IsCompactor(conv)) continue;
    mergeable.push_back(found);
  }
  return mergeable;
}

NetworkInfo WithoutCompactors(const NetworkInfo& network) {
  std::set<int> left_out;
  for (const MergeableCompactor& mergeable : MergeableCompactors(network)) {
    const int i = mergeable.compactor;
    if (network.shape(i).channels == network.shape(network.inputs(i)[0]).channels) left_out.insert(i);
  }
  std::map<std::string, std::string> instead;  // of a compactor: what it reads
  const auto name_now = [&](const std::string& name) {
    const auto found = instead.find(name);
    return found == instead.end() ? name : found->second;
  };
  Network without;
  for (int i = 0; i < network.network().node_size(); ++i) {
    const Node& node = network.node(i);
    if (left_out.count(i) > 0) {
      instead[node.name()] = name_now(node.input(0));
      continue;
    }
    Node& copy = *without.add_node();
    copy = node;
    for (std::string& input : *copy.mutable_input()) input = name_now(input);
  }
  for (const std::string& output : network.network().output()) without.add_output(name_now(output));
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(std::move(without));
  PRUNELAB_CHECK(info.ok()) << info.status().message();
  return *std::move(info);
}

}  // namespace prunelab
