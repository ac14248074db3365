// Formulas of several nodes, as exporters write them, against LibTorch's own calls in float64.
#include "ml/onnx/patterns.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ml/onnx/testing/onnx_writer.h"

namespace prunelab {
namespace {

using Ints = std::vector<int64_t>;

at::Tensor Images() {
  at::Generator generator = at::detail::createCPUGenerator(1);
  return 3 * at::randn({2, 3, 4, 5}, generator, at::kDouble);
}

// `write` appends the formula of "images", which must become one node of the network with these values.
void ExpectOneNode(const std::function<std::string(OnnxWriter&)>& write, const at::Tensor& wanted, double tolerance) {
  OnnxWriter onnx({3, 4, 5});
  onnx.OutputMaps(write(onnx));
  const at::Tensor got = ImportedLogits(onnx.Bytes(), Images());
  EXPECT_LT((got - wanted.flatten(1)).abs().max().item<double>(), tolerance);
  EXPECT_EQ(ImportedModel(onnx.Bytes()).info().network().node_size(), 3);
}

TEST(PatternsTest, Silu) {
  const auto write = [](OnnxWriter& onnx) { return onnx.Node("Mul", {onnx.Node("Sigmoid", {"images"}), "images"}); };
  ExpectOneNode(write, at::silu(Images()), 1e-12);
}

TEST(PatternsTest, HardSwish) {
  const at::Tensor wanted = at::hardswish(Images());
  ExpectOneNode(
      [](OnnxWriter& onnx) {
        return onnx.Node("Mul", {"images", onnx.Node("HardSigmoid", {"images"}, {{"alpha", 1.0 / 6}})});
      },
      wanted, 1e-12);
  const auto clipped = [](OnnxWriter& onnx) {
    const std::string shifted = onnx.Node("Add", {onnx.Number(3), "images"});
    return onnx.Node("Clip", {shifted, onnx.Number(0), onnx.Number(6)});
  };
  ExpectOneNode(
      [&](OnnxWriter& onnx) {
        return onnx.Node("Div", {onnx.Node("Mul", {"images", clipped(onnx)}), onnx.Number(6)});
      },
      wanted, 1e-12);
  ExpectOneNode(
      [&](OnnxWriter& onnx) {
        return onnx.Node("Mul", {onnx.Node("Div", {clipped(onnx), onnx.Number(6)}), "images"});
      },
      wanted, 1e-12);
  ExpectOneNode(
      [&](OnnxWriter& onnx) {
        return onnx.Node("Div", {clipped(onnx), onnx.Number(6)});
      },
      at::hardsigmoid(Images()), 1e-12);
}

TEST(PatternsTest, Gelu) {
  const at::Tensor wanted = at::gelu(Images());
  const auto gate = [](OnnxWriter& onnx) {
    const std::string erf = onnx.Node("Erf", {onnx.Node("Div", {"images", onnx.Number(1.4142135)})});
    return onnx.Node("Add", {erf, onnx.Number(1)});
  };
  ExpectOneNode(
      [&](OnnxWriter& onnx) {
        return onnx.Node("Mul", {onnx.Node("Mul", {"images", gate(onnx)}), onnx.Number(0.5)});
      },
      wanted, 1e-12);
  ExpectOneNode(
      [&](OnnxWriter& onnx) {
        return onnx.Node("Mul", {onnx.Node("Mul", {onnx.Number(0.5), "images"}), gate(onnx)});
      },
      wanted, 1e-12);
}

TEST(PatternsTest, GeluByTanh) {
  const at::Tensor wanted = at::gelu(Images(), "tanh");
  const auto finish = [](OnnxWriter& onnx, const std::string& argument) {
    const std::string scaled = onnx.Node("Mul", {argument, onnx.Number(0.7978845608)});
    const std::string gate = onnx.Node("Add", {onnx.Number(1), onnx.Node("Tanh", {scaled})});
    return onnx.Node("Mul", {onnx.Node("Mul", {onnx.Number(0.5), "images"}), gate});
  };
  ExpectOneNode(
      [&](OnnxWriter& onnx) {
        const std::string cube =
            onnx.Node("Mul", {onnx.Node("Pow", {"images", onnx.Number(3)}), onnx.Number(0.044715)});
        return finish(onnx, onnx.Node("Add", {"images", cube}));
      },
      wanted, 1e-12);
  ExpectOneNode(
      [&](OnnxWriter& onnx) {
        const std::string square = onnx.Node("Mul", {onnx.Node("Mul", {"images", "images"}), onnx.Number(0.044715)});
        return finish(onnx, onnx.Node("Mul", {"images", onnx.Node("Add", {square, onnx.Number(1)})}));
      },
      wanted, 1e-12);
}

// A norm over the channels of maps, as published ConvNeXts have it, with its scale and bias.
TEST(PatternsTest, LayerNorm) {
  at::Generator generator = at::detail::createCPUGenerator(2);
  const at::Tensor images = Images(), weight = at::randn({3}, generator, at::kDouble);
  const at::Tensor bias = at::randn({3}, generator, at::kDouble);
  const auto write = [&](OnnxWriter& onnx) {
    const auto mean = [&](const std::string& x) { return onnx.Node("ReduceMean", {x}, {{"axes", Ints{1}}}); };
    const std::string centered = onnx.Node("Sub", {"images", mean("images")});
    const std::string variance = mean(onnx.Node("Pow", {centered, onnx.Number(2)}));
    const std::string deviation = onnx.Node("Sqrt", {onnx.Node("Add", {variance, onnx.Number(1e-6)})});
    const std::string normal = onnx.Node("Div", {centered, deviation});
    const std::string scaled = onnx.Node("Mul", {normal, onnx.Tensor(weight.reshape({3, 1, 1}))});
    return onnx.Node("Add", {scaled, onnx.Tensor(bias.reshape({3, 1, 1}))});
  };
  ExpectOneNode(write, at::layer_norm(images.permute({0, 2, 3, 1}), {3}, weight, bias, 1e-6).permute({0, 3, 1, 2}),
                1e-9);
}

TEST(PatternsTest, AdaptivePoolsOfSlices) {
  const at::Tensor images = Images();
  for (const bool max : {false, true}) {
    OnnxWriter onnx({3, 4, 5});
    const auto slices = [&](const std::string& x, int64_t axis,
                            const std::vector<std::pair<int64_t, int64_t>>& ranges) {
      std::vector<std::string> parts;
      for (const auto& [start, end] : ranges) {
        const std::string slice = onnx.Node("Slice", {x, onnx.Ints({start}), onnx.Ints({end}), onnx.Ints({axis})});
        parts.push_back(onnx.Node(max ? "ReduceMax" : "ReduceMean", {slice}, {{"axes", Ints{axis}}}));
      }
      return onnx.Node("Concat", parts, {{"axis", static_cast<int>(axis)}});
    };
    const std::string rows = slices("images", 2, {{0, 2}, {1, 3}, {2, 4}});
    onnx.OutputMaps(slices(rows, 3, {{0, 3}, {2, 5}}));
    const at::Tensor wanted =
        max ? std::get<0>(at::adaptive_max_pool2d(images, {3, 2})) : at::adaptive_avg_pool2d(images, {3, 2});
    EXPECT_LT((ImportedLogits(onnx.Bytes(), images) - wanted.flatten(1)).abs().max().item<double>(), 1e-12);
    EXPECT_EQ(ImportedModel(onnx.Bytes()).info().network().node_size(), 3);
  }
}

TEST(PatternsTest, PaddedMaxPool) {
  const auto write = [](OnnxWriter& onnx) {
    const std::string pads = onnx.Ints({0, 0, 3, 1, 0, 0, 2, 2});
    const std::string padded = onnx.Node("Pad", {"images", pads, onnx.Number(-INFINITY)});
    return onnx.Node("MaxPool", {padded}, {{"kernel_shape", Ints{4, 3}}, {"strides", Ints{3, 2}}});
  };
  const at::Tensor padded = at::constant_pad_nd(Images(), {1, 2, 3, 2}, -INFINITY);
  OnnxWriter onnx({3, 4, 5});
  onnx.OutputMaps(write(onnx));
  const at::Tensor wanted = at::max_pool2d(padded, {4, 3}, {3, 2}).flatten(1);
  const at::Tensor got = ImportedLogits(onnx.Bytes(), Images());
  EXPECT_TRUE(at::equal(got, wanted));
}

TEST(PatternsTest, WhatSomethingElseReadsStays) {
  const at::Tensor images = Images();
  OnnxWriter onnx({3, 4, 5});
  const std::string sigmoid = onnx.Node("Sigmoid", {"images"});
  onnx.OutputMaps(onnx.Node("Add", {onnx.Node("Mul", {"images", sigmoid}), sigmoid}));
  const at::Tensor wanted = at::silu(images) + at::sigmoid(images);
  EXPECT_LT((ImportedLogits(onnx.Bytes(), images) - wanted.flatten(1)).abs().max().item<double>(), 1e-12);
}

TEST(PatternsTest, OtherNumbersAreNoPattern) {
  const at::Tensor images = Images();
  OnnxWriter onnx({3, 4, 5});
  const std::string shifted = onnx.Node("Add", {"images", onnx.Number(2)});
  const std::string clipped = onnx.Node("Clip", {shifted, onnx.Number(0), onnx.Number(6)});
  onnx.OutputMaps(onnx.Node("Div", {clipped, onnx.Number(6)}));
  const at::Tensor wanted = at::clamp(images + 2, 0, 6) / 6;
  EXPECT_LT((ImportedLogits(onnx.Bytes(), images) - wanted.flatten(1)).abs().max().item<double>(), 1e-12);
}

}  // namespace
}  // namespace prunelab
