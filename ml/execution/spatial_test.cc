// The operators that know rows and columns against LibTorch's own calls, or against each window written out, with their
// gradients, in float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/execution/plan.h"
#include "ml/network/window.h"

namespace prunelab {
namespace {

at::Tensor Numbers(at::IntArrayRef shape, double frequency) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return at::arange(1, n + 1, at::kDouble).mul(frequency).mul(12.9898).sin().mul(43758.5453).frac().view(shape);
}

Node ParseNode(const std::string& text) {
  Node node;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &node)) << text;
  return node;
}

// image [channels, height, width] -> the node `op` -> flatten.
Network NetworkOf(const std::string& op, int64_t channels, int64_t height, int64_t width) {
  Network network;
  Node* image = network.add_node();
  image->set_name("image");
  image->mutable_image()->set_channels(channels);
  image->mutable_image()->set_height(height);
  image->mutable_image()->set_width(width);
  *network.add_node() = ParseNode(absl::StrCat("name: 'op' input: 'image' ", op));
  *network.add_node() = ParseNode("name: 'flat' input: 'op' flatten {}");
  return network;
}

using Reference = std::function<at::Tensor(const at::Tensor& x, const Model& model)>;

// The operator's values, and the gradients of its input and parameters, are those of `reference`.
void ExpectSame(const std::string& op, at::IntArrayRef image, const Reference& reference) {
  SCOPED_TRACE(absl::StrCat(op, " of ", image[0], "x", image[1], "x", image[2]));
  const absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(NetworkOf(op, image[0], image[1], image[2]));
  ASSERT_TRUE(info.ok()) << info.status();
  Model model = Model::Create(*info, at::kDouble, at::kCPU);
  std::vector<at::Tensor> variables;
  double frequency = 0.3;
  for (const NamedTensor& parameter : model.parameters()) {
    parameter.tensor.detach().copy_(Numbers(parameter.tensor.sizes(), frequency += 0.1));
    variables.push_back(parameter.tensor);
  }
  // With ties and zeros as after a ReLU, and in both memory formats.
  const at::Tensor values = Numbers({3, image[0], image[1], image[2]}, 0.37);
  for (const bool channels_last : {false, true}) {
    at::Tensor x = values.clone(channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
    x.requires_grad_();
    variables.insert(variables.begin(), x);
    ForwardOptions train;
    train.mode = Mode::kTrain;
    ReferencePlan plan;
    const at::Tensor ours = plan.Forward(model, x, train).logits, theirs = reference(x, model);
    const NodeShape& shape = info->shape("op");
    ASSERT_EQ(theirs.sizes(), at::IntArrayRef({3, shape.channels, shape.height, shape.width}));
    ASSERT_LE((ours - theirs.flatten(1)).abs().max().item<double>(), 1e-12);
    const at::Tensor weights = Numbers(ours.sizes(), 0.77);
    const auto gradients = [&](const at::Tensor& y) {
      return torch::autograd::grad({(y.flatten(1) * weights).sum()}, variables);
    };
    const std::vector<at::Tensor> of_ours = gradients(ours), of_theirs = gradients(theirs);
    for (size_t i = 0; i < variables.size(); ++i) {
      EXPECT_LE((of_ours[i] - of_theirs[i]).abs().max().item<double>(), 1e-11) << "variable " << i;
      EXPECT_GT(of_ours[i].abs().max().item<double>(), 0) << "variable " << i;
    }
    variables.erase(variables.begin());
  }
}

TEST(SpatialTest, UnevenConvolutionsAreThoseOfThePaddedInput) {
  const auto check = [](const std::string& fields, std::vector<int64_t> pads, std::vector<int64_t> strides,
                        std::vector<int64_t> dilations, int64_t groups) {
    for (const int64_t channels : {4, 8}) {
      ExpectSame(absl::StrCat("conv2d { out_channels: 8 bias: true ", fields, "}"), {channels, 9, 7},
                 [&](const at::Tensor& x, const Model& model) {
                   const at::Tensor padded = at::constant_pad_nd(x, {pads[1], pads[3], pads[0], pads[2]});
                   return at::conv2d(padded, model.Get("op.weight"), model.Get("op.bias"), strides, at::IntArrayRef(0),
                                     dilations, groups);
                 });
    }
  };
  check("pads: [0, 1, 2, 3]", {0, 1, 2, 3}, {1, 1}, {1, 1}, 1);
  check("stride: 2 stride_width: 1 padding: 1", {1, 1, 1, 1}, {2, 1}, {1, 1}, 1);
  check("dilation: 1 dilation_width: 2 padding: 2", {2, 2, 2, 2}, {1, 1}, {1, 2}, 1);
  check("kernel_height: 2 kernel_width: 3 stride: 3 stride_width: 2 dilation: 2 dilation_width: 1 pads: [1, 0, 0, 1]",
        {1, 0, 0, 1}, {3, 2}, {2, 1}, 1);
  check("kernel_height: 1 kernel_width: 1 stride: 2 stride_width: 1", {0, 0, 0, 0}, {2, 1}, {1, 1}, 1);
  check("kernel_height: 1 kernel_width: 1 stride: 1 stride_width: 3 pads: [0, 1, 0, 0] dilation_width: 2", {0, 1, 0, 0},
        {1, 3}, {1, 1}, 1);
  check("groups: 2 pads: [1, 1, 1, 0] padding: 5", {1, 1, 1, 0}, {1, 1}, {1, 1}, 2);
}

TEST(SpatialTest, TransposedConvolutionsAreLibTorchs) {
  const auto check = [](const std::string& fields, int64_t groups, std::vector<int64_t> strides,
                        std::vector<int64_t> padding, std::vector<int64_t> output_padding,
                        std::vector<int64_t> dilations) {
    ExpectSame(absl::StrCat("conv_transpose2d { out_channels: 6 groups: ", groups, " ", fields, "}"), {4, 5, 3},
               [&](const at::Tensor& x, const Model& model) {
                 const at::Tensor weight = model.Get("op.weight");
                 EXPECT_EQ(weight.size(0), 4);
                 EXPECT_EQ(weight.size(1), 6 / groups);
                 return at::conv_transpose2d(x, weight, model.Get("op.bias"), strides, padding, output_padding, groups,
                                             dilations);
               });
  };
  for (const int64_t groups : {1, 2}) {
    check("", groups, {2, 2}, {0, 0}, {0, 0}, {1, 1});
    check("kernel_height: 3 kernel_width: 3 padding: 1 output_padding: 1", groups, {2, 2}, {1, 1}, {1, 1}, {1, 1});
    check(
        "kernel_height: 4 kernel_width: 1 stride: 3 stride_width: 1 padding: 2 padding_width: 0 output_padding: 2 "
        "output_padding_width: 0",
        groups, {3, 1}, {2, 0}, {2, 0}, {1, 1});
    check("kernel_height: 2 kernel_width: 3 stride: 1 dilation: 2 dilation_width: 1 padding_width: 1", groups, {1, 1},
          {0, 1}, {0, 0}, {2, 1});
  }
  // Each output channel of each input pixel: in * rows * columns * out / groups * kernel.
  const NetworkInfo info =
      *NetworkInfo::Create(NetworkOf("conv_transpose2d { out_channels: 6 groups: 2 kernel_height: 3 }", 4, 5, 7));
  EXPECT_EQ(info.MacCount(), 4 * 5 * 7 * 3 * 3 * 2);
  EXPECT_TRUE(info.convs().empty());
}

// The windows of one axis as PyTorch's manual describes them.
std::vector<std::vector<int64_t>> Windows(const WindowAxis& axis, int64_t size, bool padding_counts) {
  std::vector<std::vector<int64_t>> windows;
  for (int64_t start = -axis.before; start < (axis.ceil ? size : size + axis.after); start += axis.stride) {
    if (!axis.ceil && start + axis.extent() > size + axis.after) break;
    std::vector<int64_t>& window = windows.emplace_back();
    for (int64_t tap = 0; tap < axis.kernel; ++tap) {
      const int64_t pixel = start + tap * axis.dilation;
      const bool inside = pixel >= 0 && pixel < size;
      if (inside || (padding_counts && pixel < size + axis.after)) window.push_back(inside ? pixel : -1);
    }
    if (axis.ceil && start + axis.extent() >= size + axis.after) break;
  }
  return windows;
}

// Each window by itself.
at::Tensor Pooled(const Window& window, bool max, bool padding_counts, const at::Tensor& x) {
  std::vector<at::Tensor> rows;
  for (const auto& down : Windows(window.down, x.size(2), padding_counts)) {
    std::vector<at::Tensor> row;
    for (const auto& across : Windows(window.across, x.size(3), padding_counts)) {
      std::vector<at::Tensor> pixels;
      for (const int64_t i : down) {
        for (const int64_t j : across) {
          pixels.push_back(i < 0 || j < 0 ? at::zeros({x.size(0), x.size(1)}, x.options().requires_grad(false))
                                          : x.select(2, i).select(2, j));
        }
      }
      const at::Tensor stacked = at::stack(pixels);
      row.push_back(max ? std::get<0>(stacked.max(0)) : stacked.mean(0));
    }
    rows.push_back(at::stack(row, -1));
  }
  return at::stack(rows, -2);
}

TEST(SpatialTest, PoolingIsThatOfEachWindow) {
  const std::vector<std::string> shared = {
      "",
      "kernel: 3 stride: 2 padding: 1",
      "kernel: 3 stride: 2 padding: 1 ceil_mode: true",
      "kernel: 3 stride: 2 ceil_mode: true",
      "kernel: 2 stride: 3 ceil_mode: true",
      "kernel: 3 kernel_width: 2 stride: 1 stride_width: 2",
      "kernel: 3 kernel_width: 2 stride: 1 stride_width: 2 pads: [1, 0, 0, 1]",
      "kernel: 3 stride: 2 pads: [0, 0, 1, 1]",
      "kernel: 3 stride: 2 pads: [0, 1, 1, 0] ceil_mode: true",
      "kernel: 4 stride: 3 pads: [2, 1, 1, 2] ceil_mode: true",
      "kernel: 4 stride: 3 pads: [3, 2, 1, 3]",
      "kernel: 1 stride: 2 stride_width: 1 pads: [0, 0, 0, 0] ceil_mode: true",
  };
  std::vector<std::string> max = shared, average = shared;
  for (const char* fields :
       {"kernel: 3 stride: 1 dilation: 2 padding: 2", "kernel: 2 stride: 2 dilation: 3 pads: [1, 0, 2, 1]",
        "kernel: 3 stride: 2 dilation: 2 ceil_mode: true",
        "kernel: 2 kernel_width: 1 stride: 3 dilation: 2 "
        "pads: [0, 0, 1, 0] ceil_mode: true"}) {
    max.push_back(fields);
  }
  for (const std::string& fields : shared) average.push_back(fields + " count_include_pad: false");
  for (const std::vector<int64_t>& image : {std::vector<int64_t>{2, 9, 7}, {2, 8, 10}}) {
    for (const std::string& fields : max) {
      const std::string op = absl::StrCat("max_pool2d { ", fields, " }");
      const Window window = WindowOf(ParseNode(op).max_pool2d());
      ExpectSame(op, image, [&](const at::Tensor& x, const Model&) { return Pooled(window, true, false, x); });
    }
    for (const std::string& fields : average) {
      const std::string op = absl::StrCat("average_pool2d { ", fields, " }");
      const AveragePool2d pool = ParseNode(op).average_pool2d();
      ExpectSame(op, image, [&](const at::Tensor& x, const Model&) {
        return Pooled(WindowOf(pool), false, pool.count_include_pad(), x);
      });
    }
  }
  // What is written out here is what LibTorch computes.
  const at::Tensor x = Numbers({2, 3, 9, 8}, 0.37);
  WindowAxis axis;
  axis.kernel = 3;
  axis.stride = 2;
  axis.before = axis.after = 1;
  axis.ceil = true;
  for (const bool counts : {false, true}) {
    EXPECT_TRUE(at::allclose(Pooled({axis, axis}, false, counts, x), at::avg_pool2d(x, 3, 2, 1, true, counts)));
  }
  axis.dilation = 2;
  EXPECT_TRUE(at::equal(Pooled({axis, axis}, true, false, x), at::max_pool2d(x, 3, 2, 1, 2, true)));
}

TEST(SpatialTest, ResizeIsUpsample) {
  for (const std::vector<int64_t>& size : {std::vector<int64_t>{10, 14}, {5, 7}, {15, 21}, {13, 4}, {1, 1}, {7, 30}}) {
    const auto op = [&](const char* function) {
      return absl::StrCat("resize { function: ", function, " height: ", size[0], " width: ", size[1], " }");
    };
    ExpectSame(op("NEAREST"), {2, 5, 7}, [&](const at::Tensor& x, const Model&) {
      // Row i is row floor(i H / height).
      std::vector<int64_t> rows, columns;
      for (int64_t i = 0; i < size[0]; ++i) rows.push_back(i * 5 / size[0]);
      for (int64_t i = 0; i < size[1]; ++i) columns.push_back(i * 7 / size[1]);
      return x.index_select(2, at::tensor(rows)).index_select(3, at::tensor(columns));
    });
    ExpectSame(op("BILINEAR"), {2, 5, 7},
               [&](const at::Tensor& x, const Model&) { return at::upsample_bilinear2d(x, size, false); });
    ExpectSame(op("BILINEAR_ALIGNED"), {2, 5, 7},
               [&](const at::Tensor& x, const Model&) { return at::upsample_bilinear2d(x, size, true); });
  }
  ExpectSame("resize { function: NEAREST height: 6 width: 9 }", {2, 3, 3}, [&](const at::Tensor& x, const Model&) {
    return at::upsample_nearest2d(x, {6, 9});
  });
}

TEST(SpatialTest, PadIsLibTorchs) {
  ExpectSame("pad { pads: [1, 0, 2, 3] value: -0.75 }", {2, 4, 5}, [](const at::Tensor& x, const Model&) {
    return at::constant_pad_nd(x, {0, 3, 1, 2}, -0.75);
  });
  for (const std::vector<int64_t>& pads : {std::vector<int64_t>{3, 0, 2, 4}, {1, 1, 1, 1}, {0, 2, 0, 0}}) {
    const std::vector<int64_t> theirs = {pads[1], pads[3], pads[0], pads[2]};
    const std::string sides = absl::StrCat("pads: [", pads[0], ",", pads[1], ",", pads[2], ",", pads[3], "]");
    ExpectSame(absl::StrCat("pad { function: REFLECT ", sides, " }"), {2, 4, 5},
               [&](const at::Tensor& x, const Model&) { return at::reflection_pad2d(x, theirs); });
    ExpectSame(absl::StrCat("pad { function: REPLICATE ", sides, " }"), {2, 4, 5},
               [&](const at::Tensor& x, const Model&) { return at::replication_pad2d(x, theirs); });
  }
  ExpectSame("pad { pads: [0, 0, 0, 0] }", {2, 4, 5}, [](const at::Tensor& x, const Model&) { return x.clone(); });
}

TEST(SpatialTest, AdaptivePoolingIsThatOfItsRanges) {
  for (const std::vector<int64_t>& size : {std::vector<int64_t>{1, 1}, {3, 4}, {9, 2}, {4, 3}, {12, 10}}) {
    const std::string sides = absl::StrCat("height: ", size[0], " width: ", size[1]);
    ExpectSame(absl::StrCat("adaptive_pool2d { function: AVERAGE ", sides, " }"), {2, 9, 8},
               [&](const at::Tensor& x, const Model&) { return at::adaptive_avg_pool2d(x, size); });
    ExpectSame(absl::StrCat("adaptive_pool2d { function: MAX ", sides, " }"), {2, 9, 8},
               [&](const at::Tensor& x, const Model&) { return std::get<0>(at::adaptive_max_pool2d(x, size)); });
  }
}

TEST(SpatialTest, UnflattenUndoesTheFlatteningOfPixels) {
  Network network = NetworkOf("relu {}", 5, 1, 1);
  *network.add_node() = ParseNode("name: 'maps' input: 'flat' unflatten {}");
  *network.add_node() =
      ParseNode("name: 'conv' input: 'maps' conv2d { out_channels: 3 kernel_height: 1 kernel_width: 1 }");
  *network.add_node() = ParseNode("name: 'end' input: 'conv' flatten {}");
  Model model = Model::Create(*NetworkInfo::Create(network), at::kDouble, at::kCPU);
  InitializeParameters(model, 3);
  EXPECT_EQ(model.info().shape("maps").channels, 5);
  EXPECT_FALSE(model.info().shape("maps").flat);
  const at::Tensor x = Numbers({4, 5, 1, 1}, 0.37);
  ReferencePlan plan;
  const at::Tensor expected = at::linear(x.flatten(1).relu(), model.Get("conv.weight").flatten(1));
  EXPECT_LE((plan.Forward(model, x, {}).logits - expected).abs().max().item<double>(), 1e-14);
}

TEST(SpatialTest, AConstantTakesItsRowsByIndex) {
  Network network = NetworkOf("relu {}", 1, 4, 3);
  *network.mutable_node(1) = ParseNode(
      "name: 'stored' constant { channels: 1 height: 4 width: 3 row_index: [0, 1, 0, 1] column_index: [1, 0, 0] }");
  network.mutable_node(2)->set_input(0, "sum");
  const Node flat = network.node(2);
  *network.mutable_node(2) = ParseNode("name: 'sum' input: 'image' input: 'stored' add {}");
  *network.add_node() = flat;
  Model model = Model::Create(*NetworkInfo::Create(network), at::kDouble, at::kCPU);
  EXPECT_EQ(model.info().StoredConstantCount(), 4);
  model.Get("stored.value").copy_(at::tensor({1.0, 2.0, 3.0, 4.0}, at::kDouble).view({1, 2, 2}));
  ReferencePlan plan;
  const at::Tensor sum = plan.Forward(model, at::zeros({1, 1, 4, 3}, at::kDouble), {}).logits;
  EXPECT_TRUE(at::equal(sum[0], at::tensor({2., 1., 1., 4., 3., 3., 2., 1., 1., 4., 3., 3.}, at::kDouble)));
}

}  // namespace
}  // namespace prunelab
