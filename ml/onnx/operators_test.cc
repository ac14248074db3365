// Each operator of ONNX, imported, against LibTorch's own calls in float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "ml/onnx/testing/onnx_writer.h"

namespace prunelab {
namespace {

at::Tensor Random(at::IntArrayRef sizes, uint64_t seed = 1) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randn(sizes, generator, at::kDouble);
}

void ExpectNear(const at::Tensor& got, const at::Tensor& wanted, double tolerance = 1e-12) {
  ASSERT_EQ(got.sizes(), wanted.sizes());
  EXPECT_LT((got - wanted).abs().max().item<double>(), tolerance * (1 + wanted.abs().max().item<double>()));
}

// The imported network's maps, which are flattened at its end, for images [2, C, H, W].
void ExpectMaps(OnnxWriter& onnx, const std::string& value, const at::Tensor& images, const at::Tensor& wanted,
                double tolerance = 1e-12) {
  onnx.OutputMaps(value);
  ExpectNear(ImportedLogits(onnx.Bytes(), images), wanted.flatten(1), tolerance);
}

using Attributes = std::vector<OnnxAttributeValue>;
using Ints = std::vector<int64_t>;

TEST(OperatorsTest, Conv) {
  const at::Tensor images = Random({2, 4, 9, 8}), weight = Random({6, 2, 3, 2}, 2), bias = Random({6}, 3);
  OnnxWriter onnx({4, 9, 8});
  const std::string y = onnx.Node("Conv", {"images", onnx.Tensor(weight), onnx.Tensor(bias)},
                                  {{"group", 2},
                                   {"strides", Ints{2, 1}},
                                   {"pads", Ints{1, 0, 2, 1}},
                                   {"dilations", Ints{1, 2}},
                                   {"kernel_shape", Ints{3, 2}}});
  const at::Tensor padded = at::constant_pad_nd(images, {0, 1, 1, 2});
  ExpectMaps(onnx, y, images, at::conv2d(padded, weight, bias, {2, 1}, at::IntArrayRef{0, 0}, {1, 2}, 2));
}

TEST(OperatorsTest, ConvThatKeepsTheSize) {
  const at::Tensor images = Random({2, 2, 7, 7}), weight = Random({3, 2, 4, 4}, 2);
  for (const bool upper : {false, true}) {
    OnnxWriter onnx({2, 7, 7});
    const std::string y = onnx.Node("Conv", {"images", onnx.Tensor(weight)},
                                    {{"auto_pad", upper ? "SAME_UPPER" : "SAME_LOWER"}, {"strides", Ints{2, 2}}});
    // 4 outputs need 3 pixels more than there are.
    const at::Tensor padded =
        upper ? at::constant_pad_nd(images, {1, 2, 1, 2}) : at::constant_pad_nd(images, {2, 1, 2, 1});
    ExpectMaps(onnx, y, images, at::conv2d(padded, weight, {}, at::IntArrayRef{2, 2}));
  }
}

TEST(OperatorsTest, ConvTranspose) {
  const at::Tensor images = Random({2, 4, 5, 6}), weight = Random({4, 3, 3, 2}, 2), bias = Random({6}, 3);
  OnnxWriter onnx({4, 5, 6});
  const std::string y =
      onnx.Node("ConvTranspose", {"images", onnx.Tensor(weight), onnx.Tensor(bias)},
                {{"group", 2}, {"strides", Ints{2, 3}}, {"pads", Ints{1, 0, 1, 0}}, {"output_padding", Ints{1, 0}}});
  ExpectMaps(onnx, y, images, at::conv_transpose2d(images, weight, bias, {2, 3}, {1, 0}, {1, 0}, 2));
}

TEST(OperatorsTest, Pools) {
  const at::Tensor images = Random({2, 3, 9, 8});
  {
    OnnxWriter onnx({3, 9, 8});
    const std::string y = onnx.Node(
        "MaxPool", {"images"},
        {{"kernel_shape", Ints{3, 2}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 0, 1, 0}}, {"ceil_mode", 1}});
    ExpectMaps(onnx, y, images, at::max_pool2d(images, {3, 2}, {2, 2}, {1, 0}, 1, true));
  }
  for (const bool include : {false, true}) {
    OnnxWriter onnx({3, 9, 8});
    const std::string y = onnx.Node("AveragePool", {"images"},
                                    {{"kernel_shape", Ints{3, 3}},
                                     {"strides", Ints{2, 2}},
                                     {"pads", Ints{1, 1, 1, 1}},
                                     {"count_include_pad", include ? 1 : 0}});
    ExpectMaps(onnx, y, images, at::avg_pool2d(images, {3, 3}, {2, 2}, {1, 1}, false, include));
  }
  {
    OnnxWriter onnx({3, 9, 8});
    ExpectMaps(onnx, onnx.Node("GlobalAveragePool", {"images"}), images, images.mean({2, 3}, true));
  }
  {
    OnnxWriter onnx({3, 9, 8});
    ExpectMaps(onnx, onnx.Node("GlobalMaxPool", {"images"}), images, images.amax({2, 3}, true));
  }
  {  // as an adaptive pool is exported that has the size which it makes
    OnnxWriter onnx({3, 9, 8});
    ExpectMaps(onnx, onnx.Node("AveragePool", {"images"}, {{"kernel_shape", Ints{1, 1}}}), images, images);
    EXPECT_EQ(ImportedModel(onnx.Bytes()).info().network().node_size(), 2);
  }
}

TEST(OperatorsTest, Reductions) {
  const at::Tensor images = Random({2, 3, 4, 5});
  for (const bool keep : {false, true}) {
    OnnxWriter onnx({3, 4, 5}, 13);
    onnx.Output(onnx.Node("Flatten",
                          {onnx.Node("ReduceMean", {"images"}, {{"axes", Ints{-1, -2}}, {"keepdims", keep ? 1 : 0}})}));
    ExpectNear(ImportedLogits(onnx.Bytes(), images), images.mean({2, 3}));
  }
  OnnxWriter sum({3, 4, 5}, 18);
  sum.Output(sum.Node("ReduceSum", {"images", sum.Ints({2, 3})}, {{"keepdims", 0}}));
  ExpectNear(ImportedLogits(sum.Bytes(), images), images.sum({2, 3}));
  OnnxWriter rows({3, 4, 5}, 18);
  ExpectMaps(rows, rows.Node("ReduceMax", {"images", rows.Ints({2})}), images, images.amax(2, true));
  OnnxWriter columns({3, 4, 5}, 18);
  ExpectMaps(columns, columns.Node("ReduceMean", {"images", columns.Ints({3})}), images, images.mean(3, true));
}

TEST(OperatorsTest, Functions) {
  const at::Tensor images = 3 * Random({2, 3, 4, 5});
  const auto expect = [&](const char* op, const Attributes& attributes, const at::Tensor& wanted,
                          double tolerance = 1e-12) {
    SCOPED_TRACE(op);
    OnnxWriter onnx({3, 4, 5}, 20);
    ExpectMaps(onnx, onnx.Node(op, {"images"}, attributes), images, wanted, tolerance);
  };
  expect("Relu", {}, at::relu(images));
  expect("Sigmoid", {}, at::sigmoid(images));
  expect("Tanh", {}, at::tanh(images));
  expect("LeakyRelu", {{"alpha", 0.1}}, at::leaky_relu(images, 0.1));
  expect("HardSigmoid", {{"alpha", 1.0 / 6}}, at::hardsigmoid(images));
  expect("HardSigmoid", {}, at::clamp(0.2 * images + 0.5, 0, 1));
  expect("HardSwish", {}, at::hardswish(images));
  expect("Gelu", {}, at::gelu(images));
  expect("Gelu", {{"approximate", "tanh"}}, at::gelu(images, "tanh"));
  expect("Clip", {{"min", -1.0}, {"max", 2.5}}, at::clamp(images, -1, 2.5));
  expect("Neg", {}, -images);
}

TEST(OperatorsTest, ClipsOfInputs) {
  const at::Tensor images = 5 * Random({2, 3, 4, 5});
  OnnxWriter relu6({3, 4, 5});
  ExpectMaps(relu6, relu6.Node("Clip", {"images", relu6.Number(0), relu6.Number(6)}), images, at::clamp(images, 0, 6));
  OnnxWriter below({3, 4, 5});
  ExpectMaps(below, below.Node("Clip", {"images", "", below.Number(1)}), images, at::clamp_max(images, 1));
  OnnxWriter above({3, 4, 5});
  ExpectMaps(above, above.Node("Clip", {"images", above.Number(0)}), images, at::relu(images));
  EXPECT_EQ(ImportedModel(above.Bytes()).info().node(1).op_case(), Node::kRelu);
  OnnxWriter larger({3, 4, 5});
  ExpectMaps(larger, larger.Node("Max", {larger.Number(0.5), "images"}), images, at::clamp_min(images, 0.5));
}

TEST(OperatorsTest, PRelu) {
  const at::Tensor images = Random({2, 3, 4, 5}), slopes = Random({3}, 2), one = Random({1}, 3);
  OnnxWriter onnx({3, 4, 5});
  ExpectMaps(onnx, onnx.Node("PRelu", {"images", onnx.Tensor(slopes.reshape({3, 1, 1}))}), images,
             at::prelu(images, slopes));
  OnnxWriter shared({3, 4, 5});
  ExpectMaps(shared, shared.Node("PRelu", {"images", shared.Tensor(one.reshape({1, 1, 1}))}), images,
             at::prelu(images, one));
}

TEST(OperatorsTest, Softmax) {
  const at::Tensor images = Random({2, 3, 4, 5});
  OnnxWriter maps({3, 4, 5});
  ExpectMaps(maps, maps.Node("Softmax", {"images"}, {{"axis", 1}}), images, at::softmax(images, 1));
  OnnxWriter flat({3, 4, 5}, 11);
  flat.Output(flat.Node("Softmax", {flat.Node("Flatten", {"images"})}));
  ExpectNear(ImportedLogits(flat.Bytes(), images), at::softmax(images.flatten(1), 1));
}

TEST(OperatorsTest, LinearLayers) {
  const at::Tensor images = Random({2, 3, 4, 5}), weight = Random({7, 60}, 2), bias = Random({7}, 3);
  const at::Tensor wanted = at::linear(images.flatten(1), weight, bias);
  {
    OnnxWriter onnx({3, 4, 5});
    onnx.Output(
        onnx.Node("Gemm", {onnx.Node("Flatten", {"images"}), onnx.Tensor(weight), onnx.Tensor(bias)}, {{"transB", 1}}));
    ExpectNear(ImportedLogits(onnx.Bytes(), images), wanted);
  }
  {
    OnnxWriter onnx({3, 4, 5});
    onnx.Output(onnx.Node("Gemm", {onnx.Node("Flatten", {"images"}), onnx.Tensor(weight.t()), onnx.Tensor(bias)},
                          {{"alpha", 0.5}, {"beta", 2.0}}));
    ExpectNear(ImportedLogits(onnx.Bytes(), images), at::linear(images.flatten(1), 0.5 * weight, 2 * bias));
  }
  {  // MatMul and Add of a transposed weight are one layer, called as its parameters are
    OnnxWriter onnx({3, 4, 5});
    const std::string turned = onnx.Node("Transpose", {onnx.Tensor(weight, "head.fc.weight")}, {{"perm", Ints{1, 0}}});
    const std::string product = onnx.Node("MatMul", {onnx.Node("Flatten", {"images"}), turned});
    onnx.Output(onnx.Node("Add", {onnx.Tensor(bias, "head.fc.bias"), product}));
    ExpectNear(ImportedLogits(onnx.Bytes(), images), wanted);
    const Model model = ImportedModel(onnx.Bytes());
    EXPECT_TRUE(model.Has("head.fc.weight"));
    EXPECT_TRUE(model.Has("head.fc.bias"));
    EXPECT_EQ(model.info().network().node_size(), 3);
  }
}

TEST(OperatorsTest, BatchNormalization) {
  const at::Tensor images = Random({2, 3, 4, 5}), weight = Random({3}, 2), bias = Random({3}, 3), mean = Random({3}, 4);
  const at::Tensor variance = Random({3}, 5).square() + 0.5;
  OnnxWriter onnx({3, 4, 5});
  const std::string y = onnx.Node("BatchNormalization",
                                  {"images", onnx.Tensor(weight, "bn.weight"), onnx.Tensor(bias, "bn.bias"),
                                   onnx.Tensor(mean, "bn.running_mean"), onnx.Tensor(variance, "bn.running_var")},
                                  {{"epsilon", 1e-3}, {"momentum", 0.99}});
  ExpectMaps(onnx, y, images, at::batch_norm(images, weight, bias, mean, variance, false, 0.1, 1e-3, false));
  const Model model = ImportedModel(onnx.Bytes());
  const int bn = model.info().Index("bn");
  ASSERT_GE(bn, 0);
  EXPECT_EQ(model.info().node(bn).batch_norm2d().momentum(), 0.01);
  EXPECT_EQ(model.info().node(bn).batch_norm2d().epsilon(), 1e-3);
}

TEST(OperatorsTest, BatchNormalizationOfFeatures) {
  const at::Tensor images = Random({4, 6, 1, 1}), weight = Random({6}, 2), mean = Random({6}, 4);
  const at::Tensor variance = Random({6}, 5).square() + 0.5, zeros = at::zeros({6}, at::kDouble);
  OnnxWriter onnx({6, 1, 1});
  onnx.Output(onnx.Node("BatchNormalization", {onnx.Node("Flatten", {"images"}), onnx.Tensor(weight),
                                               onnx.Tensor(zeros), onnx.Tensor(mean), onnx.Tensor(variance)}));
  ExpectNear(ImportedLogits(onnx.Bytes(), images),
             at::batch_norm(images.flatten(1), weight, zeros, mean, variance, false, 0.1, 1e-5, false));
}

TEST(OperatorsTest, Norms) {
  const at::Tensor images = Random({2, 6, 4, 5}), weight = Random({6}, 2), bias = Random({6}, 3);
  {
    OnnxWriter onnx({6, 4, 5});
    const std::string y = onnx.Node("InstanceNormalization", {"images", onnx.Tensor(weight), onnx.Tensor(bias)});
    ExpectMaps(onnx, y, images, at::instance_norm(images, weight, bias, {}, {}, true, 0.1, 1e-5, false));
  }
  {  // GroupNorm as dynamo=False writes it
    OnnxWriter onnx({6, 4, 5});
    const std::string groups = onnx.Node("Reshape", {"images", onnx.Ints({0, 3, -1})});
    const std::string normal = onnx.Node("InstanceNormalization", {groups, onnx.Tensor(at::ones({3}, at::kDouble)),
                                                                   onnx.Tensor(at::zeros({3}, at::kDouble))});
    const std::string back = onnx.Node("Reshape", {normal, onnx.Node("Shape", {"images"})});
    const std::string scaled = onnx.Node("Mul", {back, onnx.Tensor(weight.reshape({6, 1, 1}))});
    ExpectMaps(onnx, onnx.Node("Add", {scaled, onnx.Tensor(bias.reshape({6, 1, 1}))}), images,
               at::group_norm(images, 3, weight, bias, 1e-5, false));
    EXPECT_EQ(ImportedModel(onnx.Bytes()).info().network().node_size(), 3);  // the scales are the norm's own
  }
  {
    OnnxWriter onnx({6, 4, 5}, 21);
    const std::string y =
        onnx.Node("GroupNormalization", {"images", onnx.Tensor(weight), onnx.Tensor(bias)}, {{"num_groups", 2}});
    ExpectMaps(onnx, y, images, at::group_norm(images, 2, weight, bias, 1e-5, false));
  }
  {  // of the last dimension, with the channels there
    OnnxWriter onnx({6, 4, 5});
    const std::string last = onnx.Node("Transpose", {"images"}, {{"perm", Ints{0, 2, 3, 1}}});
    const std::string y =
        onnx.Node("LayerNormalization", {last, onnx.Tensor(weight), onnx.Tensor(bias)}, {{"epsilon", 1e-6}});
    ExpectMaps(onnx, onnx.Node("Transpose", {y}, {{"perm", Ints{0, 3, 1, 2}}}), images,
               at::layer_norm(images.permute({0, 2, 3, 1}), {6}, weight, bias, 1e-6).permute({0, 3, 1, 2}));
  }
  {
    OnnxWriter onnx({6, 4, 5});
    onnx.Output(
        onnx.Node("LayerNormalization", {onnx.Node("ReduceMean", {"images"}, {{"axes", Ints{2, 3}}, {"keepdims", 0}}),
                                         onnx.Tensor(weight), onnx.Tensor(bias)}));
    ExpectNear(ImportedLogits(onnx.Bytes(), images), at::layer_norm(images.mean({2, 3}), {6}, weight, bias));
  }
}

TEST(OperatorsTest, ArithmeticOfTwoValues) {
  const at::Tensor images = Random({2, 4, 4, 5}), weight = Random({4, 4, 1, 1}, 2);
  const at::Tensor other = at::conv2d(images, weight);
  const auto expect = [&](const char* op, const at::Tensor& wanted) {
    SCOPED_TRACE(op);
    OnnxWriter onnx({4, 4, 5});
    const std::string y = onnx.Node("Conv", {"images", onnx.Tensor(weight)});
    ExpectMaps(onnx, onnx.Node(op, {"images", y}), images, wanted, 1e-10);
  };
  expect("Add", images + other);
  expect("Sub", images - other);
  expect("Mul", images * other);
  expect("Div", images / other);
  expect("Sum", images + other);
}

TEST(OperatorsTest, ArithmeticRepeatsOnes) {
  const at::Tensor images = Random({2, 4, 4, 5}), one = Random({1, 4, 1, 1}, 2), square = Random({4, 4}, 3);
  {  // squeeze and excitation through features
    OnnxWriter onnx({4, 4, 5}, 13);
    const std::string mean = onnx.Node("ReduceMean", {"images"}, {{"axes", Ints{2, 3}}, {"keepdims", 0}});
    const std::string gate = onnx.Node("Sigmoid", {onnx.Node("Gemm", {mean, onnx.Tensor(square)})});
    const std::string pixel = onnx.Node("Unsqueeze", {gate, onnx.Ints({2, 3})});
    const at::Tensor wanted = at::sigmoid(at::matmul(images.mean({2, 3}), square)).unsqueeze(-1).unsqueeze(-1) * images;
    ExpectMaps(onnx, onnx.Node("Mul", {pixel, "images"}), images, wanted);
  }
  for (const char* op : {"Mul", "Add"}) {  // a single map for all channels
    OnnxWriter onnx({4, 4, 5});
    const std::string map = onnx.Node("Conv", {"images", onnx.Tensor(one)});
    const at::Tensor single = at::conv2d(images, one);
    ExpectMaps(onnx, onnx.Node(op, {"images", map}), images, op[0] == 'M' ? images * single : images + single);
  }
}

TEST(OperatorsTest, ArithmeticWithConstants) {
  const at::Tensor images = Random({2, 3, 4, 5}), channels = Random({3, 1, 1}, 2), picture = Random({1, 3, 4, 5}, 3);
  const auto expect = [&](const char* op, bool first, const at::Tensor& constant, const at::Tensor& wanted) {
    SCOPED_TRACE(op);
    OnnxWriter onnx({3, 4, 5});
    const std::string c = onnx.Tensor(constant);
    const std::string y = first ? onnx.Node(op, {c, "images"}) : onnx.Node(op, {"images", c});
    ExpectMaps(onnx, y, images, wanted, 1e-9);
  };
  for (const at::Tensor& constant : {channels, picture, at::scalar_tensor(0.7, at::kDouble), picture[0][0]}) {
    expect("Add", false, constant, images + constant);
    expect("Mul", true, constant, images * constant);
    expect("Sub", false, constant, images - constant);
    expect("Sub", true, constant, constant - images);
    expect("Div", false, constant, images / constant);
    expect("Div", true, constant, constant / images);
  }
}

TEST(OperatorsTest, ConstantsMeetTurnedMaps) {
  const at::Tensor images = Random({2, 3, 4, 5}), channels = Random({3}, 2), rows = Random({4, 1, 1}, 3);
  const at::Tensor last = images.permute({0, 2, 3, 1});
  OnnxWriter onnx({3, 4, 5});
  const std::string turned = onnx.Node("Transpose", {"images"}, {{"perm", Ints{0, 2, 3, 1}}});
  const std::string scaled = onnx.Node("Mul", {turned, onnx.Tensor(channels)});
  const std::string added = onnx.Node("Add", {scaled, onnx.Tensor(rows)});
  ExpectMaps(onnx, onnx.Node("Transpose", {added}, {{"perm", Ints{0, 3, 1, 2}}}), images,
             (last * channels + rows).permute({0, 3, 1, 2}));
}

TEST(OperatorsTest, SelectedChannels) {
  const at::Tensor images = Random({2, 6, 4, 5});
  {
    OnnxWriter onnx({6, 4, 5});
    const std::string y =
        onnx.Node("Slice", {"images", onnx.Ints({-1}), onnx.Ints({-100}), onnx.Ints({1}), onnx.Ints({-2})});
    ExpectMaps(onnx, y, images, images.index_select(1, at::tensor(Ints{5, 3, 1})));
  }
  {
    OnnxWriter onnx({6, 4, 5}, 13);
    const std::string y = onnx.Node("Split", {"images", onnx.Ints({4, 2})}, {{"axis", 1}}, 2);
    ExpectMaps(onnx, onnx.Node("Concat", {y + ":1", y}, {{"axis", 1}}), images,
               at::cat({images.slice(1, 4, 6), images.slice(1, 0, 4)}, 1));
  }
  {
    OnnxWriter onnx({6, 4, 5});
    const std::string one =
        onnx.Node("Gather", {"images", onnx.Tensor(at::scalar_tensor(-2, at::kLong))}, {{"axis", 1}});
    ExpectMaps(onnx, onnx.Node("Unsqueeze", {one, onnx.Ints({1})}), images, images.slice(1, 4, 5));
  }
  {  // a shuffle of two groups
    OnnxWriter onnx({6, 4, 5});
    const std::string split = onnx.Node("Reshape", {"images", onnx.Ints({-1, 2, 3, 4, 5})});
    const std::string turned = onnx.Node("Transpose", {split}, {{"perm", Ints{0, 2, 1, 3, 4}}});
    ExpectMaps(onnx, onnx.Node("Reshape", {turned, onnx.Ints({-1, 6, 4, 5})}), images, at::channel_shuffle(images, 2));
  }
}

TEST(OperatorsTest, EverySecondPixel) {
  const at::Tensor images = Random({2, 3, 7, 6});
  OnnxWriter onnx({3, 7, 6});
  const std::string y =
      onnx.Node("Slice", {"images", onnx.Ints({0, 0}), onnx.Ints({100, 100}), onnx.Ints({2, 3}), onnx.Ints({2, 2})});
  ExpectMaps(onnx, y, images, images.slice(2, 0, 7, 2).slice(3, 0, 6, 2));
}

TEST(OperatorsTest, MatMulOfTurnedMapsIsAConvolution) {
  const at::Tensor images = Random({2, 3, 4, 5}), weight = Random({3, 8}, 2), bias = Random({8}, 3);
  OnnxWriter onnx({3, 4, 5});
  const std::string last = onnx.Node("Transpose", {"images"}, {{"perm", Ints{0, 2, 3, 1}}});
  const std::string y = onnx.Node("Add", {onnx.Node("MatMul", {last, onnx.Tensor(weight)}), onnx.Tensor(bias)});
  ExpectMaps(onnx, onnx.Node("Transpose", {y}, {{"perm", Ints{0, 3, 1, 2}}}), images,
             (at::matmul(images.permute({0, 2, 3, 1}), weight) + bias).permute({0, 3, 1, 2}));
  const Model model = ImportedModel(onnx.Bytes());
  EXPECT_EQ(model.info().convs().size(), 1);
  EXPECT_EQ(model.info().network().node_size(), 3);
}

TEST(OperatorsTest, FlattenedInAnotherOrder) {
  const at::Tensor images = Random({2, 3, 4, 5});
  OnnxWriter onnx({3, 4, 5});
  onnx.Output(onnx.Node("Flatten", {onnx.Node("Transpose", {"images"}, {{"perm", Ints{0, 2, 3, 1}}})}));
  ExpectNear(ImportedLogits(onnx.Bytes(), images), images.permute({0, 2, 3, 1}).flatten(1));
}

TEST(OperatorsTest, Resize) {
  const at::Tensor images = Random({2, 3, 4, 5});
  const auto expect = [&](const Attributes& attributes, const at::Tensor& wanted) {
    OnnxWriter onnx({3, 4, 5});
    const std::string sizes = onnx.Ints({2, 3, wanted.size(2), wanted.size(3)});
    const std::string shape = onnx.Node("Slice", {onnx.Node("Shape", {"images"}), onnx.Ints({0}), onnx.Ints({2})});
    const std::string whole = onnx.Node("Concat", {shape, onnx.Ints({wanted.size(2), wanted.size(3)})}, {{"axis", 0}});
    ExpectMaps(onnx, onnx.Node("Resize", {"images", "", "", whole}, attributes), images, wanted, 1e-9);
  };
  expect({{"mode", "nearest"}, {"coordinate_transformation_mode", "asymmetric"}, {"nearest_mode", "floor"}},
         at::upsample_nearest2d(images, {7, 10}));
  expect({{"mode", "nearest"}}, at::upsample_nearest2d(images, {8, 10}));  // half a pixel, which is the same here
  expect({{"mode", "linear"}, {"coordinate_transformation_mode", "pytorch_half_pixel"}},
         at::upsample_bilinear2d(images, {9, 3}, false));
  expect({{"mode", "linear"}, {"coordinate_transformation_mode", "align_corners"}},
         at::upsample_bilinear2d(images, {9, 3}, true));
  OnnxWriter scales({3, 4, 5});
  const std::string twice = scales.Tensor(at::tensor(std::vector<float>{1, 1, 2, 2}));
  ExpectMaps(scales, scales.Node("Resize", {"images", "", twice}, {{"mode", "linear"}}), images,
             at::upsample_bilinear2d(images, {8, 10}, false), 1e-9);
}

TEST(OperatorsTest, Pad) {
  const at::Tensor images = Random({2, 3, 4, 5});
  const auto expect = [&](const char* mode, const at::Tensor& wanted) {
    SCOPED_TRACE(mode);
    OnnxWriter onnx({3, 4, 5});
    const std::string pads = onnx.Ints({0, 0, 1, 2, 0, 0, 3, 0});
    ExpectMaps(onnx, onnx.Node("Pad", {"images", pads}, {{"mode", mode}}), images, wanted);
  };
  expect("constant", at::constant_pad_nd(images, {2, 0, 1, 3}));
  expect("reflect", at::reflection_pad2d(images, {2, 0, 1, 3}));
  expect("edge", at::replication_pad2d(images, {2, 0, 1, 3}));
  OnnxWriter channels({3, 4, 5});
  ExpectMaps(channels, channels.Node("Pad", {"images", channels.Ints({0, 1, 0, 0, 0, 2, 0, 0})}), images,
             at::constant_pad_nd(images, {0, 0, 0, 0, 1, 2}));
}

TEST(OperatorsTest, DropoutDoesNothingInEvaluation) {
  const at::Tensor images = Random({2, 3, 4, 5});
  OnnxWriter onnx({3, 4, 5});
  ExpectMaps(onnx, onnx.Node("Dropout", {"images", onnx.Number(0.3)}), images, images);
  EXPECT_EQ(ImportedModel(onnx.Bytes()).info().node(1).dropout().probability(), 0.3);
}

TEST(OperatorsTest, IdentitiesVanish) {
  const at::Tensor images = Random({2, 3, 4, 5});
  OnnxWriter onnx({3, 4, 5});
  std::string y = onnx.Node("Cast", {"images"}, {{"to", 1}});
  y = onnx.Node("Identity", {y});
  y = onnx.Node("Concat", {y}, {{"axis", 1}});
  y = onnx.Node("Mul", {y, onnx.Number(1)});
  ExpectMaps(onnx, y, images, images);
  EXPECT_EQ(ImportedModel(onnx.Bytes()).info().network().node_size(), 2);
}

TEST(OperatorsTest, FixedBatchOfOne) {
  const at::Tensor images = Random({2, 3, 4, 5}), weight = Random({7, 60}, 2);
  OnnxWriter onnx({3, 4, 5}, 17, /*batch=*/1);
  const std::string flat =
      onnx.Node("Reshape", {onnx.Node("Relu", {"images"}), onnx.Ints({1, 60})}, {{"allowzero", 1}});
  onnx.Output(onnx.Node("Gemm", {flat, onnx.Tensor(weight)}, {{"transB", 1}}));
  ExpectNear(ImportedLogits(onnx.Bytes(), images), at::linear(at::relu(images).flatten(1), weight));
}

TEST(OperatorsTest, ShapesAreComputed) {
  const at::Tensor images = Random({2, 3, 4, 5});
  OnnxWriter onnx({3, 4, 5});
  const std::string shape = onnx.Node("Shape", {"images"});
  const std::string batch = onnx.Node("Gather", {shape, onnx.Tensor(at::scalar_tensor(0, at::kLong))});
  const std::string first = onnx.Node("Unsqueeze", {onnx.Node("Cast", {batch}, {{"to", 7}}), onnx.Ints({0})});
  const std::string rest =
      onnx.Node("ReduceProd", {onnx.Node("Slice", {shape, onnx.Ints({1}), onnx.Ints({4})})}, {{"keepdims", 1}});
  const std::string target = onnx.Node("Concat", {first, rest}, {{"axis", 0}});
  onnx.Output(onnx.Node("Reshape", {"images", target}));
  ExpectNear(ImportedLogits(onnx.Bytes(), images), images.flatten(1));
}

TEST(OperatorsTest, TypesOfInitializers) {
  const at::Tensor images = Random({2, 3, 4, 5}), weight = Random({2, 3, 3, 3}, 2);
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    for (const bool raw : {false, true}) {
      SCOPED_TRACE(c10::toString(type));
      OnnxWriter onnx({3, 4, 5});
      const at::Tensor stored = weight.to(type);
      onnx.OutputMaps(onnx.Node("Conv", {"images", onnx.Tensor(stored)}));
      if (!raw) {  // the same numbers one by one
        onnx::TensorProto* proto = onnx.model().mutable_graph()->mutable_initializer(0);
        proto->clear_raw_data();
        for (int64_t i = 0; i < stored.numel(); ++i) {
          const at::Tensor number = stored.flatten()[i];
          if (type == at::kFloat) proto->add_float_data(number.item<float>());
          if (type == at::kDouble) proto->add_double_data(number.item<double>());
          if (type == at::kHalf) proto->add_int32_data(number.item<at::Half>().x);
          if (type == at::kBFloat16) proto->add_int32_data(number.item<at::BFloat16>().x);
        }
      }
      ExpectNear(ImportedLogits(onnx.Bytes(), images), at::conv2d(images, stored.to(at::kDouble)).flatten(1));
    }
  }
}

TEST(OperatorsTest, SharedParametersAreCopied) {
  const at::Tensor images = Random({2, 3, 4, 5}), weight = Random({3, 3, 1, 1}, 2);
  OnnxWriter onnx({3, 4, 5});
  const std::string shared = onnx.Tensor(weight, "conv.weight");
  const std::string y = onnx.Node("Conv", {onnx.Node("Conv", {"images", shared}), shared});
  ExpectMaps(onnx, y, images, at::conv2d(at::conv2d(images, weight), weight));
  const absl::StatusOr<ImportedNetwork> imported = ImportOnnxBytes(onnx.Bytes(), "m.onnx", "");
  ASSERT_TRUE(imported.ok());
  EXPECT_EQ(imported->tensors.count("conv.weight"), 1);
  EXPECT_EQ(imported->tensors.count("conv_1.weight"), 1);
  ASSERT_EQ(imported->notes.size(), 1);
  EXPECT_EQ(imported->notes[0], "nodes share parameters, of which each has its own copy now: conv.weight (2 nodes)");
}

TEST(OperatorsTest, NamesOfModules) {
  OnnxWriter onnx({3, 8, 8});
  const at::Tensor weight = Random({3, 3, 1, 1});
  std::string y = onnx.Node("Conv", {"images", onnx.Tensor(weight, "features.0.0.weight")}, {}, 1, "node_conv");
  y = onnx.Node("Relu", {y}, {}, 1, "/features/features.0/features.0.2/Relu");
  y = onnx.Node("Conv", {y, onnx.Tensor(weight)}, {}, 1, "/layer1/layer1.0/conv1/Conv");  // BN was folded into it
  y = onnx.Node("Relu", {y}, {}, 1, "/layer1/layer1.0/relu/Relu");
  y = onnx.Node("Relu", {y}, {}, 1, "/layer1/layer1.0/relu/Relu_1");
  y = onnx.Node("Tanh", {y}, {}, 1, "node_tanh_7");
  onnx.Output(onnx.Node("Flatten", {y}, {}, 1, "/Flatten"));
  const Network network = ImportedModel(onnx.Bytes()).info().network();
  std::vector<std::string> names;
  for (const Node& node : network.node()) names.push_back(node.name());
  EXPECT_EQ(names, (std::vector<std::string>{"image", "features.0.0", "features.0.2.relu", "layer1.0.conv1",
                                             "layer1.0.relu", "layer1.0.relu_1", "tanh_7", "flatten"}));
}

TEST(OperatorsTest, OutputsThatAreMapsOrSeveral) {
  const at::Tensor images = Random({2, 3, 4, 5});
  OnnxWriter maps({3, 4, 5});
  maps.Output(maps.Node("Tanh", {"images"}));
  ExpectNear(ImportedLogits(maps.Bytes(), images), at::tanh(images));
  OnnxWriter several({3, 4, 5});
  const std::string mean = several.Node("GlobalAveragePool", {"images"});
  several.Output(several.Node("Flatten", {several.Node("Relu", {mean}, {}, 1, "head")}));
  several.Output(several.Node("Sigmoid", {mean}, {}, 1, "other"));
  ExpectNear(ImportedLogits(several.Bytes(), images), at::relu(images.mean({2, 3})));
  const Network network = ImportedModel(several.Bytes()).info().network();
  ASSERT_EQ(network.output_size(), 2);
  EXPECT_EQ(network.output(1), "other");
}

}  // namespace
}  // namespace prunelab
