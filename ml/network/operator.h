// What an operator of a network is, said once: its inputs, shape, parameters and costs, which channels its outputs are
// made of, and what becomes of it when channels are removed. Each operator is one file of operators/, which also
// registers it; shape inference, costs, printing, the analysis of dead channels, coupled groups and removal are
// functions over what it says.
//
//   class ReluOperator : public Operator {
//     const char* Name() const override { return "ReLU"; }
//     ...
//   };
//   PRUNELAB_OPERATOR(Node::kRelu, ReluOperator);
//
// Elsewhere code distinguishes operators only where they are executed (ml/execution), folded or exported
// (ml/compression). docs/adding_an_operator.md explains how to add one.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/network/channel_pictures.h"
#include "ml/network/network.h"

namespace prunelab {

// The inputs that an operator takes.
struct InputRule {
  enum class Layout { kMaps, kFlat, kAny };  // [C, H, W], [features], both
  size_t least = 1, most = 1;
  Layout layout = Layout::kMaps;
};

// Which channels of its inputs each output channel of a node is made of.
struct ChannelRelation {
  enum class Kind {
    kNone,    // there are no inputs
    kSame,    // output channel c of channel c of every input
    kMapped,  // as `from` says: channels are moved, repeated, or concatenated
    kMixed,   // weighted sums of all input channels of the same group
    kJoined,  // as kSame, but all input channels of the same group have a say in it (a norm over channels)
  };
  Kind kind = Kind::kSame;
  // kMapped: [inputs][output channels], the channel of that input; -1 where the output channel has nothing from it.
  std::vector<std::vector<int64_t>> from = {};
  // kMixed: the parameter "weight", by output, is [outputs, inputs / groups, ...]. Outputs and inputs each fall into so
  // many equal parts. So they do of kJoined.
  int64_t groups = 1;
  // kMapped, by input: whether output channels that are made of it can be left out while their sources stay. Empty: no.
  std::vector<bool> picks = {};
};

// A node's parameter or buffer by its suffix ("weight"), of any floating type.
using NodeValues = std::function<at::Tensor(const char* suffix)>;

// The channels that remain when a network is made smaller: bool [channels].
struct RemainingChannels {
  at::Tensor outputs;
  std::vector<at::Tensor> inputs;  // by input
};

class Operator {
 public:
  virtual ~Operator() = default;

  // Its name in messages and tables: "conv".
  virtual const char* Name() const = 0;
  virtual InputRule Inputs() const { return {}; }

  // The output's shape, for inputs that Inputs() allows. Errors (node_checks.h): fields and shapes that do not fit.
  virtual absl::StatusOr<NodeShape> Shape(const Node& node, const std::vector<NodeShape>& inputs) const = 0;

  // In the order of PyTorch's state_dict. Dimension 0 of each that is not a scalar is the node's output channels,
  // of kMixed's weight once it is by output.
  virtual std::vector<NodeParameter> Parameters(const NodeView& view) const { return {}; }

  // The multiply-accumulates for one image are the product of these; empty: none.
  virtual std::vector<int64_t> MacFactors(const NodeView& view) const { return {}; }

  virtual ChannelRelation Channels(const NodeView& view) const { return {}; }

  // Output channels that depend on what they are made of: bool [channels]; an undefined tensor: all. Of kMixed, the
  // weights say more. `may_differ_from_zero`: of each input, bool [its channels]; the others are zero for every image.
  virtual at::Tensor Passes(const NodeView& view, const NodeValues& values,
                            const std::vector<at::Tensor>& may_differ_from_zero) const {
    return {};
  }

  // What the node computes from constant pictures in evaluation mode. Channels that depend on the image are zero in
  // `inputs`, and the results for channels that are computed from them are overwritten. For kMixed: what the constant
  // inputs contribute, without the bias; if there are no groups, inputs and weight may cover only some of the input
  // channels, and the weight is by output. The default is the sum, or the arrangement, that Channels() gives.
  virtual ChannelPictures Constants(const NodeView& view, const NodeValues& values,
                                    const std::vector<ChannelPictures>& inputs) const;

  // Writes into `node` that only these channels remain. Parameters are taken care of.
  virtual void Narrow(Node& node, const RemainingChannels& remaining) const {}

  // Whether the node returns its only input, which has so many channels, unchanged, so that its consumers may as well
  // read that.
  virtual bool PassesOn(const Node& node, int64_t input_channels) const { return false; }

  // Whether, in evaluation, each number that the node returns is 0 or one of its only input: numbers on a grid stay on
  // it (value_grids.h).
  virtual bool KeepsValues(const Node& node) const { return false; }

  // Of kMixed: the parameter "weight" as [outputs, inputs / groups, ...], for operators that store it in another order,
  // and back. What knows weights by their outputs and inputs (the analysis of channels, removal, folding) asks for
  // this.
  virtual at::Tensor ByOutput(const at::Tensor& weight, int64_t groups) const { return weight; }
  virtual at::Tensor FromByOutput(const at::Tensor& weight, int64_t groups) const { return weight; }

  // Gives a node of kMixed the parameter "bias" [outputs].
  virtual void AddBias(Node& node) const {}
};

// The operator of a node; nullptr where the node says none.
const Operator* FindOperator(Node::OpCase op);

// `flags`, bool [channels of input k], as flags of the output channels that are made of them (not kMixed).
at::Tensor ToOutputs(const ChannelRelation& relation, size_t k, const at::Tensor& flags);

// `flags`, bool [output channels], as flags of the `channels` channels of input k that they are made of.
at::Tensor ToInputs(const ChannelRelation& relation, size_t k, const at::Tensor& flags, int64_t channels);

// Makes an operator known; used by the macro.
bool RegisterOperator(Node::OpCase op, const Operator* implementation);

#define PRUNELAB_OPERATOR(op_case, Type) \
  [[maybe_unused]] const bool registered = ::prunelab::RegisterOperator(op_case, new Type)

}  // namespace prunelab
