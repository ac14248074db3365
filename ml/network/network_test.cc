#include "ml/network/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"
#include "ml/network/network_writer.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

Network Parse(const std::string& text) {
  Network network;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &network)) << text;
  return network;
}

Network Small() {
  NetworkWriter net;
  net.Image(3, 9, 7);
  net.Conv("a", "image", {8, 3, 2, 1, true, 1, 1, 5});
  net.BatchNorm("b", "a");
  net.Conv("c", "b", {8, 3, 1, 2, false, 4, 2});
  net.Add("d", {"b", "c"});
  net.MaxPool("e", "d", 3, 2, 1);
  net.Flatten("f", "e");
  net.Linear("g", "f", 4);
  return net.Take();
}

TEST(NetworkTest, InfersShapesAsPyTorch) {
  const NetworkInfo info = *NetworkInfo::Create(Small());
  // (9 + 2 - 3) / 2 + 1 = 5, (7 + 2 - 5) / 2 + 1 = 3; dilation 2 and padding 2 keep the size; (5 + 2 - 3) / 2 + 1 = 3.
  EXPECT_EQ(info.shape("a").height, 5);
  EXPECT_EQ(info.shape("a").width, 3);
  EXPECT_EQ(info.shape("c").height, 5);
  EXPECT_EQ(info.shape("e").height, 3);
  EXPECT_EQ(info.shape("e").width, 2);
  EXPECT_EQ(info.shape("f").channels, 8 * 3 * 2);
  EXPECT_EQ(info.classes(), 4);
}

TEST(NetworkTest, CountsParametersAndMacs) {
  const NetworkInfo info = *NetworkInfo::Create(Small());
  EXPECT_EQ(info.ParameterCount(), (8 * 3 * 15 + 8) + 16 + 8 * 2 * 9 + (48 * 4 + 4));
  EXPECT_EQ(info.MacCount(), 5 * 3 * 8 * 3 * 15 + 5 * 3 * 8 * 2 * 9 + 48 * 4);
  EXPECT_EQ(info.FilterCount(), 16);
  EXPECT_EQ(info.ConvWeightCount(), 8 * 45 + 8 * 18);
  std::vector<std::string> names;
  for (const ParameterSpec& spec : info.parameters()) names.push_back(spec.name);
  EXPECT_THAT(names,
              ::testing::ElementsAre("a.weight", "a.bias", "b.weight", "b.bias", "b.running_mean", "b.running_var",
                                     "b.num_batches_tracked", "c.weight", "g.weight", "g.bias"));
}

TEST(NetworkTest, RefusesByNodeName) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {"", "has no nodes"},
      {"node { image {} }", "node 0 has no name"},
      {"node { name: 'x' image {} } node { name: 'x' input: 'x' relu {} }", "\"x\": has the name of an earlier node"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'y' relu {} }", "input \"y\" is no node"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'y' relu {} } node { name: 'y' input: 'x' relu {} }",
       "\"x\": input \"y\" stands later"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'x' relu {} }", "cycles"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv2d {} }", "out_channels is 0"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv2d { out_channels: 4 groups: 2 } }",
       "groups 2 must divide"},
      {"node { name: 'i' image { height: 2 } } node { name: 'x' input: 'i' conv2d { out_channels: 4 } }",
       "does not fit into 2"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' add {} }", "has 1 inputs; needs 2 or more"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' linear { out_features: 3 } }", "needs a flat input"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' scatter { channels: 4 index: [0, 1, 1] } }",
       "index 1 is out of range or repeated"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' scatter { channels: 4 index: 0 } }",
       "has 1 indices for 3"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' }", "says not what it does"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' relu {} }", "is the output and must be flat"},
      {"node { name: 'i' image {} } output: 'x'", "network: output \"x\" is no node"},
      {"node { name: 'i' image {} } output: 'i' output: 'i'", "network: output \"i\" is repeated"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' concat {} }", "has 1 inputs; needs 2 or more"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' elementwise {} }",
       "function is unset; must be one of CLIP, LEAKY_RELU, SIGMOID, HARD_SIGMOID, HARD_SWISH, SILU, GELU, GELU_TANH, "
       "TANH"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' elementwise { function: CLIP low: 6 } }",
       "clips between low 6 and high 6; low must be below high"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' elementwise { function: CLIP high: nan } }",
       "low must be below high"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' elementwise { function: LEAKY_RELU slope: inf } }",
       "slope is inf; must be finite"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' input: 'i' arithmetic {} }",
       "function is unset; must be MULTIPLY, SUBTRACT or DIVIDE"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv2d { out_channels: 4 padding: 1 } } "
       "node { name: 'y' input: 'i' input: 'x' arithmetic { function: MULTIPLY } }",
       "cannot combine [3, 32, 32] and [4, 32, 32]; each size must be equal, or 1 in one of them"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' channel_scale { weight: false } }",
       "has neither weight nor bias; needs one"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' layer_norm { epsilon: 0 } }",
       "epsilon is 0; must be above 0, and finite"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' group_norm {} }", "groups is 0; must be from 1"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' group_norm { groups: 2 } }",
       "groups 2 must divide the 3 input channels"},
      {"node { name: 'i' image { height: 1 width: 1 } } node { name: 'x' input: 'i' instance_norm {} }",
       "has one pixel a channel, of which there is no variance"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' select {} }", "number of indices is 0"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' select { index: [0, 3] } }",
       "index 3 is out of range; must be from 0 to 2"},
      {"node { name: 'i' image { height: 4 } } node { name: 'x' input: 'i' max_pool2d {} } "
       "node { name: 'y' input: 'i' input: 'x' concat {} }",
       "puts together shapes that differ: [3, 4, 32] and [3, 2, 16]"},
      {"node { name: 'i' image { height: 1 width: 1 } } node { name: 'x' input: 'i' flatten {} } "
       "node { name: 'y' input: 'i' input: 'x' concat {} }",
       "puts together shapes that differ: [3, 1, 1] and [3]"},
      {"node { name: 'i' image { channels: 1048576 height: 1 width: 1 } } "
       "node { name: 'x' input: 'i' input: 'i' concat {} }",
       "number of channels is 2097152"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv2d { out_channels: 4 pads: [1, 1, 1] } }",
       "has 3 pads; needs 4: top, left, bottom, right"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv2d { out_channels: 4 pads: [1, 1, -1, 0] } }",
       "pads is -1; must be from 0"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv2d { out_channels: 4 stride_width: 0 } }",
       "stride_width is 0; must be from 1"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv2d { out_channels: 4 dilation_width: 0 } }",
       "dilation_width is 0; must be from 1"},
      {"node { name: 'i' image { height: 2 } } node { name: 'x' input: 'i' conv2d { out_channels: 4 kernel_height: 6 "
       "pads: [1, 0, 2, 0] } }",
       "a window of 6 pixels does not fit into 2 with padding 1 and 2"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' max_pool2d { padding: 2 } }",
       "padding 2 is more than half of the kernel 2"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' max_pool2d { kernel: 4 kernel_width: 1 padding: 1 } }",
       "padding 1 is more than half of the kernel 1"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' max_pool2d { pads: [2, 0, 0, 0] } }",
       "a window of 2 pixels lies in the padding alone: 2 and 0 pixels around 32"},
      {"node { name: 'i' image { width: 1 } } node { name: 'x' input: 'i' max_pool2d { dilation: 3 pads: [0, 2, 0, 2] "
       "} }",
       "a window of 4 pixels lies in the padding alone: 2 and 2 pixels around 1"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' average_pool2d { pads: [0, 0, 2, 0] "
       "count_include_pad: false } }",
       "lies in the padding alone"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' average_pool2d { kernel_width: 0 } }",
       "kernel_width is 0"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' resize { height: 3 width: 3 } }",
       "function is unset; must be one of NEAREST, BILINEAR, BILINEAR_ALIGNED"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' resize { function: NEAREST width: 3 } }",
       "height is 0; must be from 1"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' pad {} }", "has no pads; needs 4"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' pad { pads: [0, 0, 0, 0] value: inf } }",
       "value is inf; must be finite"},
      {"node { name: 'i' image { height: 3 } } node { name: 'x' input: 'i' pad { pads: [0, 0, 3, 0] function: REFLECT "
       "} }",
       "reflects 3 rows of 3; must be fewer than there are"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' adaptive_pool2d { height: 3 } }",
       "function is unset; must be one of AVERAGE, MAX"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' unflatten {} }", "needs a flat input"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv_transpose2d {} }", "out_channels is 0"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv_transpose2d { out_channels: 6 groups: 2 } }",
       "groups 2 must divide the 3 input channels and the 6 output channels"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv_transpose2d { out_channels: 6 output_padding: 2 "
       "} }",
       "output_padding is 2; must be below the stride 2 or the dilation 1"},
      {"node { name: 'i' image { height: 1 } } node { name: 'x' input: 'i' conv_transpose2d { out_channels: 6 padding: "
       "1 } }",
       "\"x\": output's height is 0; must be from 1"},
      {"node { name: 'i' image {} } node { name: 'x' constant { channels: 1 height: 3 row_index: [0, 1] } }",
       "row_index has 2 numbers; needs 3"},
      {"node { name: 'i' image {} } node { name: 'x' constant { channels: 1 height: 3 row_index: [0, 2, 0] } }",
       "row_index goes from 0 to 2 but has 2 different numbers; must have all from 0 on"},
      {"node { name: 'i' image {} } node { name: 'x' constant { channels: 1 width: 2 column_index: [0, 1] "
       "column_repeats: [1, 1] } }",
       "has both column_index and repeats; needs one of them"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' batch_norm2d { epsilon: 0 } }",
       "\"x\": epsilon is 0; must be above 0, and finite"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' batch_norm2d { epsilon: inf } }",
       "\"x\": epsilon is inf; must be above 0, and finite"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' batch_norm2d { momentum: nan } }",
       "\"x\": momentum is nan; must be from 0 to 1"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' dropout { probability: -0.1 } }",
       "\"x\": probability is -0.1; must be from 0 to 1"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' dropout { probability: 1.5 } }",
       "\"x\": probability is 1.5; must be from 0 to 1"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' dropout { probability: nan } }",
       "\"x\": probability is nan; must be from 0 to 1"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' fake_quantize { bits: 9 } }",
       "\"x\": bits is 9; must be from 2 to 8"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv2d { out_channels: 4 padding: 1 weight_bits: 1 } }",
       "\"x\": weight_bits is 1; must be from 2 to 8"},
      {"node { name: 'i' image { height: 1 width: 1 } } node { name: 'f' input: 'i' flatten {} } "
       "node { name: 'x' input: 'f' linear { out_features: 4 weight_bits: 16 } }",
       "\"x\": weight_bits is 16; must be from 2 to 8"},
      {"node { name: 'i' image { channels: 99999999999 } }", "channels is 99999999999"},
      {"node { name: 'i' image {} } node { name: 'x' input: 'i' conv2d { out_channels: 4 } } "
       "node { name: 'y' input: 'i' input: 'x' add {} }",
       "adds shapes that differ"},
      // Sizes that are allowed one by one but not together, because counts would overflow.
      {"node { name: 'i' image { channels: 1048576 height: 1048576 width: 1048576 } }",
       "\"i\": has more than 70368744177664 values in its output"},
      {"node { name: 'i' image { channels: 1048576 } } node { name: 'x' input: 'i' conv2d { out_channels: 1048576 "
       "kernel_height: 1048576 kernel_width: 1048576 padding: 1048576 } }",
       "\"x\": output's height is 1048609; must be from 1 to 1048576"},
      {"node { name: 'i' image { channels: 1048576 } } node { name: 'x' input: 'i' conv2d { out_channels: 1048576 "
       "kernel_height: 4096 kernel_width: 4096 padding: 2048 } }",
       "\"x\": has more than 70368744177664 multiply-accumulates"},
  };
  for (const auto& c : cases) {
    const absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(Parse(c.text));
    ASSERT_FALSE(info.ok()) << c.text;
    EXPECT_THAT(std::string(info.status().message()), HasSubstr(c.message));
  }
}

// Nodes say what they do by a field of `op`; each has its file in operators/.
TEST(OperatorTest, EveryFieldOfANodeHasOne) {
  const google::protobuf::OneofDescriptor* op = Node::descriptor()->FindOneofByName("op");
  ASSERT_NE(op, nullptr);
  for (int i = 0; i < op->field_count(); ++i) {
    EXPECT_NE(FindOperator(static_cast<Node::OpCase>(op->field(i)->number())), nullptr) << op->field(i)->name();
  }
  EXPECT_EQ(FindOperator(Node::OP_NOT_SET), nullptr);
}

TEST(NetworkTest, RefusesMoreNodesThanCountsCanSum) {
  Network network = Small();
  while (network.node_size() <= 1 << 16) network.add_node();
  const absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(std::move(network));
  ASSERT_FALSE(info.ok());
  EXPECT_THAT(std::string(info.status().message()), HasSubstr("has 65537 nodes; must be at most 65536"));
}

}  // namespace
}  // namespace prunelab
