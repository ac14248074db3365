#include "ml/compression/placing_convolutions.h"

#include <ATen/ATen.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "ml/compression/network_rewriter.h"

namespace prunelab {
namespace {

// The numbers by channel that a term of a sum adds to every pixel: those of a constant of one pixel, scattered or not,
// that nothing else reads. Undefined for all other nodes.
at::Tensor AddedEverywhere(const WeightedNetwork& network, const NetworkInfo& info, int term) {
  const bool scattered = info.node(term).op_case() == Node::kScatter;
  const int constant = scattered ? info.inputs(term)[0] : term;
  if (info.node(constant).op_case() != Node::kConstant || !IsReadOnce(info, term)) return {};
  if (scattered && !IsReadOnce(info, constant)) return {};
  if (info.shape(constant).height * info.shape(constant).width != 1) return {};
  const at::Tensor value = network.Get(info.node(constant).name(), "value").view(-1);
  if (!scattered) return value;
  const auto& index = info.node(term).scatter().index();
  return at::zeros({info.shape(term).channels}, value.options())
      .index_copy(0, at::tensor(std::vector<int64_t>(index.begin(), index.end()), at::kLong), value);
}

}  // namespace

void ScattersToConvolutions(WeightedNetwork& network, const ChannelLayout& layout) {
  const NetworkInfo info = network.Info();
  // By scatter: the constants of the sum after it that become its bias.
  std::map<int, at::Tensor> biases;
  std::set<int> left_out;  // terms of sums
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (info.node(i).op_case() != Node::kScatter || info.shape(i).flat) continue;
    if (layout.Of(info.shape(i)).streams != Streams::kConvolved) continue;
    if (info.node(info.inputs(i)[0]).op_case() == Node::kConstant) continue;
    at::Tensor& bias = biases[i];
    if (!IsReadOnce(info, i)) continue;
    const int sum = info.users(i)[0];
    if (info.node(sum).op_case() != Node::kAdd) continue;
    // A sum is as large as its largest term, which here is the scatter.
    if (info.shape(sum).height != info.shape(i).height || info.shape(sum).width != info.shape(i).width) continue;
    for (const int term : info.inputs(sum)) {
      const at::Tensor added = left_out.count(term) == 0 ? AddedEverywhere(network, info, term) : at::Tensor();
      if (!added.defined()) continue;
      bias = bias.defined() ? bias + added : added;
      left_out.insert(term);
    }
  }
  if (biases.empty()) return;
  NetworkRewriter rewriter(network);
  for (int i = 0; i < info.network().node_size(); ++i) {
    const Node& node = info.node(i);
    const auto found = biases.find(i);
    if (found != biases.end()) {
      Node& copy = *rewriter.AppendCopy(node);
      Conv2d& conv = *copy.mutable_conv2d();
      conv.set_out_channels(node.scatter().channels());
      conv.set_kernel_height(1);
      conv.set_kernel_width(1);
      conv.set_bias(found->second.defined());
      at::Tensor weight = at::zeros({node.scatter().channels(), node.scatter().index_size(), 1, 1}, network.DType());
      for (int k = 0; k < node.scatter().index_size(); ++k) weight[node.scatter().index(k)][k] = 1;
      network.Set(node.name(), "weight", weight);
      if (conv.bias()) network.Set(node.name(), "bias", found->second.contiguous());
    } else if (node.op_case() == Node::kAdd) {
      std::vector<std::string> inputs;
      for (const int term : info.inputs(i)) {
        if (left_out.count(term) == 0) inputs.push_back(rewriter.NewName(info.node(term).name()));
      }
      rewriter.ReplaceSum(node, inputs);
    } else if (left_out.count(i) == 0 &&
               !(node.op_case() == Node::kConstant && IsReadOnce(info, i) && left_out.count(info.users(i)[0]) > 0)) {
      rewriter.AppendCopy(node);
    }
  }
  rewriter.Finish();
}

void ConvolutionsToScatters(WeightedNetwork& network) {
  const NetworkInfo info = network.Info();
  NetworkRewriter rewriter(network);
  bool changed = false;
  // Other convolutions that happen to place channels have weights like any other, which may be pruned or trained.
  const auto is_ours = [](const std::string& name) {
    const size_t dot = name.rfind('.');
    return dot != std::string::npos && name.compare(dot + 1, 7, "scatter") == 0;
  };
  for (int i = 0; i < info.network().node_size(); ++i) {
    const Node& node = info.node(i);
    Node& copy = *rewriter.AppendCopy(node);
    if (!is_ours(node.name()) || node.op_case() != Node::kConv2D || node.conv2d().groups() != 1 ||
        node.conv2d().weight_bits() != 0)
      continue;
    const NodeShape& shape = info.shape(i);
    const NodeShape& from = info.shape(info.inputs(i)[0]);
    const at::Tensor weight = network.Get(node.name(), "weight");
    if (weight.size(2) * weight.size(3) != 1 || shape.height != from.height || shape.width != from.width) continue;
    if (node.conv2d().stride() != 1 || node.conv2d().has_stride_width()) continue;
    const at::Tensor places = weight.flatten(1).ne(0);
    const bool only_places = (weight.eq(0) | weight.eq(1)).all().item<bool>() &&
                             places.sum(0).eq(1).all().item<bool>() && places.sum(1).le(1).all().item<bool>();
    if (!only_places || weight.size(0) == weight.size(1)) continue;
    changed = true;
    const at::Tensor index = places.to(at::kInt).argmax(0);
    copy.mutable_scatter()->set_channels(shape.channels);
    for (int64_t k = 0; k < index.numel(); ++k) copy.mutable_scatter()->add_index(index[k].item<int64_t>());
    if (!network.Has(node.name(), "bias")) continue;
    const at::Tensor bias = network.Get(node.name(), "bias");
    const std::string constant =
        rewriter.AppendConstant(node.name(), PixelPictures(bias.to(at::kDouble)), bias.scalar_type());
    if (constant.empty()) continue;
    rewriter.Rename(node.name(), rewriter.AppendSum(node.name(), {node.name(), constant}));
  }
  if (changed) rewriter.Finish();
}

}  // namespace prunelab
