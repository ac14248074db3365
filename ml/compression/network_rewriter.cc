#include "ml/compression/network_rewriter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"

namespace prunelab {

namespace {

// The suffix of a new node after its base's name: "conv1" -> "conv1.scatter".
std::string Derived(const std::string& base, const char* suffix) {
  return absl::StrCat(base.substr(0, base.find('\n')), suffix);
}

// Which rows (columns) a constant stores, in one of its two fields for that.
void SetRows(const EqualRows& rows, google::protobuf::RepeatedField<int64_t>& repeats,
             google::protobuf::RepeatedField<int64_t>& index) {
  const bool runs = rows.AreRuns();
  for (const int64_t number : runs ? rows.Runs() : rows.index()) (runs ? repeats : index).Add(number);
}

}  // namespace

NetworkRewriter::NetworkRewriter(WeightedNetwork& network) : network_(network) {}

Node NetworkRewriter::Copy(const Node& node) const {
  Node copy = node;
  for (std::string& input : *copy.mutable_input()) input = NewName(input);
  return copy;
}

Node* NetworkRewriter::AppendCopy(const Node& node) {
  Node* copy = Append();
  *copy = Copy(node);
  return copy;
}

std::string NetworkRewriter::NewName(const std::string& node) const {
  const auto found = renamed_.find(node);
  return found == renamed_.end() ? node : found->second;
}

std::string NetworkRewriter::NewNode(const std::string& base) {
  // A provisional name. Finish gives the final names, when it is known which nodes of the old network stay.
  const std::string clean = base.substr(0, base.find('\n'));
  return absl::StrCat(clean, "\n", new_nodes_++);
}

std::string NetworkRewriter::AppendConstant(const std::string& base, const ChannelPictures& all, at::ScalarType dtype) {
  const at::Tensor stored = all.values.flatten(1).ne(0).any(1);
  if (!stored.any().item<bool>()) return "";
  return AppendStored(base, all, stored, /*full_size=*/false, dtype);
}

std::string NetworkRewriter::AppendTerm(const Node& node, const NodeShape& shape, const std::vector<NodeShape>& terms,
                                        const ChannelPictures& all, at::ScalarType dtype) {
  int64_t height = 1, width = 1;
  for (const NodeShape& term : terms) {
    height = std::max(height, term.height);
    width = std::max(width, term.width);
  }
  const bool full_size = height < shape.height || width < shape.width;
  at::Tensor stored = all.values.flatten(1).ne(0).any(1);
  if (!stored.any().item<bool>()) {
    if (!full_size) return "";
    stored = at::zeros_like(stored).index_fill(0, at::zeros({1}, at::kLong), true);  // one channel, for its size
  }
  return AppendLayout(AppendStored(node.name(), all, stored, full_size, dtype), shape);
}

std::string NetworkRewriter::AppendPart(const std::string& base, const NodeShape& shape, const ChannelPictures& all,
                                        at::ScalarType dtype) {
  const at::Tensor stored = at::ones({all.values.size(0)}, at::kBool);
  return AppendLayout(AppendStored(base, all, stored, /*full_size=*/shape.height * shape.width > 1, dtype), shape);
}

std::string NetworkRewriter::AppendLayout(const std::string& constant, const NodeShape& shape) {
  if (!shape.flat) return constant;
  Node* flatten = Append();
  flatten->set_name(NewNode(Derived(constant, ".flatten")));
  flatten->add_input(constant);
  flatten->mutable_flatten();
  return flatten->name();
}

namespace {

// The rows and columns that stay of weight [out, in / groups, ...], where `remaining` has equally many outputs and
// equally many inputs of each group that has any.
at::Tensor NarrowedWeight(const at::Tensor& weight, int64_t groups, const RemainingChannels& remaining) {
  const at::Tensor rows = weight.index_select(0, WhereTrue(remaining.outputs));
  if (groups == 1) return rows.index_select(1, WhereTrue(remaining.inputs[0]));
  const at::Tensor group = WhereTrue(remaining.outputs.view({groups, -1}).any(1));
  const at::Tensor inputs = remaining.inputs[0].view({groups, -1}).index_select(0, group);
  const int64_t left = inputs.sum(1).max().item<int64_t>();
  PRUNELAB_CHECK(inputs.sum(1).eq(left).all().item<bool>()) << "groups of different widths";
  if (left == inputs.size(1)) return rows;
  // By group, by filter of the group, by input, by tap.
  const at::Tensor taps = rows.reshape({group.numel(), rows.size(0) / group.numel(), rows.size(1), -1});
  const at::Tensor columns = WhereTrue(inputs.view(-1)).remainder(inputs.size(1)).view({-1, 1, left, 1});
  std::vector<int64_t> shape = rows.sizes().vec();
  shape[1] = left;
  return taps.gather(2, columns.expand({-1, taps.size(1), -1, taps.size(3)})).reshape(shape);
}

}  // namespace

void NetworkRewriter::NarrowParameters(const NetworkInfo& info, int i, const RemainingChannels& remaining) {
  const NodeView view = info.View(i);
  const ChannelRelation relation = info.op(i).Channels(view);
  const Operator& op = info.op(i);
  const at::Tensor outputs = WhereTrue(remaining.outputs);
  for (const NodeParameter& parameter : op.Parameters(view)) {
    if (parameter.shape.empty() || parameter.is_shared) continue;
    at::Tensor tensor = network_.Get(view.node.name(), parameter.suffix.c_str());
    if (relation.kind == ChannelRelation::Kind::kMixed && parameter.suffix == "weight") {
      tensor = NarrowedWeight(op.ByOutput(tensor, relation.groups), relation.groups, remaining);
      const at::Tensor groups = remaining.outputs.view({relation.groups, -1}).any(1);
      tensor = op.FromByOutput(tensor, groups.sum().item<int64_t>());
    } else {
      tensor = tensor.index_select(0, outputs);
    }
    network_.Set(view.node.name(), parameter.suffix.c_str(), tensor.contiguous());
  }
}

std::string NetworkRewriter::AppendStored(const std::string& base, const ChannelPictures& all, const at::Tensor& stored,
                                          bool full_size, at::ScalarType dtype) {
  const at::Tensor index = WhereTrue(stored);
  const ChannelPictures pictures = Coarsened({all.values.index_select(0, index), all.rows, all.columns});
  const std::string name = NewNode(Derived(base, ".constant"));
  Node* node = Append();
  node->set_name(name);
  Constant* constant = node->mutable_constant();
  constant->set_channels(index.numel());
  // A value that is the same at every pixel is stored as one pixel, whatever the size of the pictures.
  if (full_size || pictures.values.numel() > pictures.values.size(0)) {
    constant->set_height(pictures.rows.size());
    constant->set_width(pictures.columns.size());
    SetRows(pictures.rows, *constant->mutable_row_repeats(), *constant->mutable_row_index());
    SetRows(pictures.columns, *constant->mutable_column_repeats(), *constant->mutable_column_index());
  }
  network_.Set(name, "value", pictures.values.to(dtype).contiguous());
  return AppendScatter(name, name, stored);
}

std::string NetworkRewriter::AppendSum(const std::string& base, const std::vector<std::string>& inputs) {
  if (inputs.size() == 1) return inputs[0];
  Node* node = Append();
  node->set_name(NewNode(Derived(base, ".sum")));
  for (const std::string& input : inputs) node->add_input(input);
  node->mutable_add();
  return node->name();
}

void NetworkRewriter::ReplaceSum(const Node& node, const std::vector<std::string>& inputs) {
  if (inputs.size() == 1) {
    Rename(node.name(), inputs[0]);
    return;
  }
  Node* copy = AppendCopy(node);
  copy->clear_input();
  for (const std::string& input : inputs) copy->add_input(input);
}

std::string NetworkRewriter::AppendScatter(const std::string& base, const std::string& input, const at::Tensor& kept) {
  const at::Tensor index = WhereTrue(kept);
  if (index.numel() == kept.numel()) return input;
  Node* node = Append();
  node->set_name(NewNode(Derived(base, ".scatter")));
  node->add_input(input);
  node->mutable_scatter()->set_channels(kept.numel());
  for (int64_t k = 0; k < index.numel(); ++k) node->mutable_scatter()->add_index(index[k].item<int64_t>());
  return node->name();
}

std::string NetworkRewriter::NewOutput(const std::string& node) {
  const std::string name = NewName(node);
  const auto& others = next_.output();
  if (std::find(others.begin(), others.end(), name) == others.end()) return name;
  // Two outputs have become one value: one of them gets a node of its own, which clips nothing.
  Node* copy = Append();
  copy->set_name(NewNode(Derived(node, ".copy")));
  copy->add_input(name);
  prunelab::Elementwise* clip = copy->mutable_elementwise();
  clip->set_function(prunelab::Elementwise::CLIP);
  clip->set_low(-std::numeric_limits<double>::infinity());
  clip->set_high(std::numeric_limits<double>::infinity());
  return copy->name();
}

void NetworkRewriter::Finish() {
  if (network_.network.output().empty()) {
    // The output is the last node. If it was renamed, nothing after its new name is needed.
    const std::string output = NewName(network_.network.node(network_.network.node_size() - 1).name());
    while (next_.node(next_.node_size() - 1).name() != output) next_.mutable_node()->RemoveLast();
  }
  for (const std::string& output : network_.network.output()) next_.add_output(NewOutput(output));
  std::set<std::string> names;
  for (const Node& node : next_.node()) names.insert(node.name());
  std::map<std::string, std::string> final_names;
  for (Node& node : *next_.mutable_node()) {
    for (std::string& input : *node.mutable_input()) {
      const auto found = final_names.find(input);
      if (found != final_names.end()) input = found->second;
    }
    const size_t end = node.name().find('\n');
    if (end == std::string::npos) continue;
    const std::string base = node.name().substr(0, end);
    std::string name = base;
    for (int number = 2; !names.insert(name).second; ++number) name = absl::StrCat(base, number);
    final_names[node.name()] = name;
    node.set_name(name);
  }
  for (std::string& output : *next_.mutable_output()) {
    const auto found = final_names.find(output);
    if (found != final_names.end()) output = found->second;
  }
  // Values of new constants move to their final names, which a removed node may have had.
  std::map<std::string, at::Tensor> values;
  for (const auto& [provisional, name] : final_names) {
    if (network_.Has(provisional, "value")) values[name] = network_.Get(provisional, "value");
  }
  for (const auto& [name, value] : values) network_.Set(name, "value", value);
  network_.network = std::move(next_);
  network_.DropUnownedTensors();
}

bool IsReadOnce(const NetworkInfo& info, int i) { return info.users(i).size() == 1 && !info.IsOutput(i); }

at::Tensor WhereTrue(const at::Tensor& flags) { return flags.nonzero().view(-1); }

}  // namespace prunelab
