// A stored value: the same for every image.
#include <set>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

absl::Status CheckRepeats(const Node& node, absl::string_view field,
                          const google::protobuf::RepeatedField<int64_t>& repeats, int64_t size) {
  if (repeats.empty()) return absl::OkStatus();
  int64_t sum = 0;
  for (const int64_t repeat : repeats) {
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, field, repeat));
    sum += repeat;
  }
  if (sum == size) return absl::OkStatus();
  return NodeError(node, absl::StrCat(field, " add up to ", sum, "; must be ", size));
}

// One for each row, and all stored rows occur.
absl::Status CheckIndex(const Node& node, absl::string_view field,
                        const google::protobuf::RepeatedField<int64_t>& index, bool has_repeats, int64_t size) {
  if (index.empty()) return absl::OkStatus();
  if (has_repeats) return NodeError(node, absl::StrCat("has both ", field, " and repeats; needs one of them"));
  if (index.size() != size) {
    return NodeError(node, absl::StrCat(field, " has ", index.size(), " numbers; needs ", size));
  }
  std::set<int64_t> rows(index.begin(), index.end());
  const int64_t stored = static_cast<int64_t>(rows.size());
  if (*rows.begin() == 0 && *rows.rbegin() == stored - 1) return absl::OkStatus();
  return NodeError(node, absl::StrCat(field, " goes from ", *rows.begin(), " to ", *rows.rbegin(), " but has ", stored,
                                      " different numbers; must have all from 0 on"));
}

class ConstantOperator : public Operator {
 public:
  const char* Name() const override { return "constant"; }
  InputRule Inputs() const override { return {0, 0}; }

  absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const override {
    const Constant& constant = node.constant();
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "channels", constant.channels()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "height", constant.height()));
    PRUNELAB_RETURN_IF_ERROR(CheckSize(node, "width", constant.width()));
    PRUNELAB_RETURN_IF_ERROR(CheckRepeats(node, "row_repeats", constant.row_repeats(), constant.height()));
    PRUNELAB_RETURN_IF_ERROR(CheckRepeats(node, "column_repeats", constant.column_repeats(), constant.width()));
    PRUNELAB_RETURN_IF_ERROR(
        CheckIndex(node, "row_index", constant.row_index(), !constant.row_repeats().empty(), constant.height()));
    PRUNELAB_RETURN_IF_ERROR(CheckIndex(node, "column_index", constant.column_index(),
                                        !constant.column_repeats().empty(), constant.width()));
    return NodeShape{constant.channels(), constant.height(), constant.width(), false};
  }

  std::vector<NodeParameter> Parameters(const NodeView& view) const override {
    const Constant& constant = view.node.constant();
    NodeParameter value = {"value", {constant.channels(), StoredRows(constant), StoredColumns(constant)}};
    value.is_buffer = value.is_constant = true;
    return {value};
  }

  ChannelRelation Channels(const NodeView& view) const override { return {ChannelRelation::Kind::kNone}; }

  ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                            const std::vector<ChannelPictures>& inputs) const override {
    return StoredPictures(view.node.constant(), values("value"));
  }

  void Narrow(Node& node, const RemainingChannels& remaining) const override {
    node.mutable_constant()->set_channels(remaining.outputs.sum().item<int64_t>());
  }
};

PRUNELAB_OPERATOR(Node::kConstant, ConstantOperator);

}  // namespace
}  // namespace prunelab
