// Compares networks for inference, dense and removed, by the plan that fuses them with plain calls in float64; and the
// sizes that removal leaves with ones worked out by hand.
#include "ml/compression/compressed_model.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/prepared_values.h"
#include "ml/execution/skipping_plan.h"
#include "ml/kernels/conv3x3/conv3x3.h"
#include "ml/models/resnet_cifar.h"
#include "ml/models/vgg.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

at::Tensor Logits(Plan& plan, Model& model, int64_t images, PreparedValues* prepared = nullptr) {
  const at::NoGradGuard no_gradients;
  const NodeShape& shape = model.info().input_shape();
  const at::Tensor x = at::linspace(-1, 1, images * shape.channels * shape.height * shape.width, at::kDouble)
                           .mul(377)
                           .sin()
                           .view({images, shape.channels, shape.height, shape.width})
                           .to(at::kFloat);
  ForwardOptions options;
  options.prepared = prepared;
  return plan.Forward(model, x.to(model.dtype()).contiguous(at::MemoryFormat::ChannelsLast), options).logits;
}

void ExpectThatPlansAgree(Model& model, const std::vector<int64_t>& batches) {
  Model exact = Model::Create(model.info(), at::kDouble, at::kCPU);
  for (const auto* list : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& tensor : *list) exact.Get(tensor.name).detach().copy_(tensor.tensor);
  }
  ReferencePlan reference;
  SkippingPlan plan;
  PreparedValues prepared;
  for (const int64_t images : batches) {
    SCOPED_TRACE(absl::StrCat(images, " images"));
    const at::Tensor expected = Logits(reference, exact, images), logits = Logits(plan, model, images);
    ASSERT_EQ(logits.sizes(), expected.sizes());
    EXPECT_LE((logits - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
    // What is kept between calls changes no bit.
    for (int call = 0; call < 2; ++call) EXPECT_TRUE(at::equal(Logits(plan, model, images, &prepared), logits)) << call;
  }
}

// Dense and removed, masks of all kinds, each channel rounding, all kinds of streams, on one thread and on two.
void ExpectThatInferenceAgrees(const absl::StatusOr<Network>& network, const std::vector<int64_t>& multiples) {
  const NetworkInfo info = *NetworkInfo::Create(*network);
  const int threads = at::get_num_threads();
  int count = 0;
  for (const MaskKind kind : kMaskKinds) {
    Model masked = RandomModel(info, at::kFloat, 7);
    SetRandomMasks(masked, kind, 11);
    const absl::StatusOr<WeightedNetwork> dense = ToWeightedNetwork(masked);
    ASSERT_TRUE(dense.ok());
    for (const int64_t multiple : multiples) {
      CompressionOptions options;
      options.layout.all = {multiple, static_cast<Streams>(count % 3)};
      SCOPED_TRACE(absl::StrCat("masks ", static_cast<int>(kind), ", ", options.layout.Text()));
      at::set_num_threads(1 + count++ % 2);
      WeightedNetwork removed = *dense;
      Compress(removed, options);
      Model inference = ToInferenceModel(removed, at::kCPU), with_norms = ToModel(removed, at::kCPU);
      ExpectThatPlansAgree(inference, {1, 5});
      ExpectThatPlansAgree(with_norms, {2});
    }
    Model inference = ToInferenceModel(*dense, at::kCPU);
    ExpectThatPlansAgree(inference, {3});
  }
  at::set_num_threads(threads);
}

TEST(InferenceTest, ResNet20OfOddAndEvenImages) {
  for (const int64_t size : {8, 13}) {
    ResNetCifar parameters;
    parameters.set_depth(20);
    parameters.set_image_size(size);
    SCOPED_TRACE(size);
    ExpectThatInferenceAgrees(CreateResNetCifar(parameters, {}), {size == 8 ? 8 : 1});
  }
}

TEST(InferenceTest, StreamsOfTwelveChannels) {
  ResNetCifar parameters;
  parameters.set_depth(8);
  parameters.set_width(12);
  parameters.set_image_size(9);
  ExpectThatInferenceAgrees(CreateResNetCifar(parameters, {}), {1});
}

TEST(InferenceTest, Vgg) {
  Vgg parameters;
  parameters.set_depth(11);
  parameters.set_width(8);
  parameters.set_conv_bias(true);
  ExpectThatInferenceAgrees(CreateVgg(parameters, {}), {1});
}

TEST(InferenceTest, TheProjectsKernelsAreUsed) {
  if (!HasConv3x3(16, 16, 8, 8)) return;  // no AVX2: the library's convolutions are used
  ResNetCifar parameters;
  parameters.set_depth(8);
  Model model = RandomModel(*NetworkInfo::Create(*CreateResNetCifar(parameters, {})), at::kFloat, 7);
  Model inference = ToInferenceModel(*ToWeightedNetwork(model), at::kCPU);
  ReferencePlan reference;
  SkippingPlan plan;
  EXPECT_FALSE(at::equal(Logits(plan, inference, 2), Logits(reference, inference, 2)));
}

TEST(InferenceTest, ModelsForInferenceHaveNoBatchNorm) {
  ResNetCifar parameters;
  parameters.set_depth(8);
  Model model = RandomModel(*NetworkInfo::Create(*CreateResNetCifar(parameters, {})), at::kFloat, 7);
  const WeightedNetwork network = *ToWeightedNetwork(model);
  const Model inference = ToInferenceModel(network, at::kCPU);
  for (const Node& node : inference.info().network().node()) EXPECT_NE(node.op_case(), Node::kBatchNorm2D);
  EXPECT_TRUE(network.Has("bn1", "weight"));  // the given network has not changed
}

// Weights of ones, some filters masked, and BN that adds a shift (its scale is 1).
Model Ones(const Network& network, const std::map<std::string, std::vector<int64_t>>& dead,
           const std::map<std::string, double>& shifts = {}) {
  Model model = Model::Create(*NetworkInfo::Create(network), at::kDouble, at::kCPU);
  std::map<std::string, at::Tensor> masks;
  for (const NamedTensor& parameter : model.parameters()) {
    const bool bias = absl::EndsWith(parameter.name, ".bias");
    parameter.tensor.detach().fill_(bias ? 0 : 1);
    if (model.info().node(model.info().Index(parameter.node)).op_case() != Node::kBatchNorm2D || !bias) continue;
    const auto shift = shifts.find(parameter.node);
    parameter.tensor.detach().fill_(shift == shifts.end() ? -1 : shift->second);
  }
  for (const auto& [node, filters] : dead) {
    masks[node] = at::ones({model.info().shape(node).channels, 1, 1, 1}, at::kDouble);
    for (const int64_t filter : filters) masks[node][filter].zero_();
  }
  model.SetMasks(masks);
  return model;
}

// Checks the prediction, which a training records, and what removal leaves.
void ExpectSize(const Model& model, int64_t parameters, int64_t macs) {
  const RemovedSize size = SizeAfterRemoval(model);
  EXPECT_EQ(size.parameters, parameters);
  EXPECT_EQ(size.macs, macs);
  const NetworkInfo left = CompressModel(model, {})->model.info();
  EXPECT_EQ(left.ParameterCount() + left.StoredConstantCount(), parameters);
  EXPECT_EQ(left.MacCount(), macs);
}

// image(3) -> a(4) -> bn -> relu -> b(5) -> bn -> relu -> pool -> linear(2)
Network Chain() {
  NetworkWriter net;
  net.Image(3, 4, 4);
  net.Conv("a", "image", {4, 3, 1, 1});
  net.BatchNorm("bn_a", "a");
  net.Relu("relu_a", "bn_a");
  net.Conv("b", "relu_a", {5, 3, 1, 1});
  net.BatchNorm("bn_b", "b");
  net.Relu("relu_b", "bn_b");
  net.GlobalAveragePool("pool", "relu_b");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 2);
  return net.Take();
}

TEST(SizeAfterRemovalTest, NothingDeadKeepsEverything) {
  const Model model = Ones(Chain(), {});
  ExpectSize(model, model.info().ParameterCount(), model.info().MacCount());
}

TEST(SizeAfterRemovalTest, DeadFiltersLeaveWithTheInputsTheyFed) {
  // Filters 1 and 3 of a are off; their constants are max(0, -1) = 0: nothing is stored.
  ExpectSize(Ones(Chain(), {{"a", {1, 3}}}), (2 * 27 + 4) + (5 * 2 * 9 + 10) + (2 * 5 + 2),
             16 * 2 * 27 + 16 * 5 * 2 * 9 + 10);
}

TEST(SizeAfterRemovalTest, ConstantsThatDoNotVanishAreStored) {
  // The constants are max(0, 0.5): each of b's five filters stores one value per tap, because its border differs.
  ExpectSize(Ones(Chain(), {{"a", {1, 3}}}, {{"bn_a", 0.5}}), (2 * 27 + 4) + (5 * 2 * 9 + 10) + 5 * 9 + (2 * 5 + 2),
             16 * 2 * 27 + 16 * 5 * 2 * 9 + 10);
}

TEST(SizeAfterRemovalTest, LogitsThatDependOnNoImage) {
  // The smallest network with these logits is left: the image's three channels and the two classes' biases.
  ExpectSize(Ones(Chain(), {{"b", {0, 1, 2, 3, 4}}}), 2 * 3 + 2, 2 * 3);
  ExpectSize(Ones(Chain(), {{"a", {0, 1, 2, 3}}}, {{"bn_a", 0.5}}), 2 * 3 + 2, 2 * 3);
}

TEST(SizeAfterRemovalTest, ValuesThatAreNotFiniteCountAsLive) {
  const Model model = Ones(Chain(), {{"a", {1, 3}}});
  model.Get("a.weight").detach()[0][0][0][0] = std::numeric_limits<double>::quiet_NaN();
  model.Get("bn_a.running_mean").fill_(std::numeric_limits<double>::infinity());
  EXPECT_EQ(SizeAfterRemoval(model).macs, 16 * 2 * 27 + 16 * 5 * 2 * 9 + 10);
}

// A stream of 4 channels: stem -> block(c1 -> c2) added to it.
Network Residual() {
  NetworkWriter net;
  net.Image(3, 4, 4);
  net.Conv("stem", "image", {4, 3, 1, 1});
  net.BatchNorm("bn", "stem");
  net.Relu("relu", "bn");
  net.Conv("c1", "relu", {4, 3, 1, 1});
  net.BatchNorm("bn1", "c1");
  net.Relu("relu1", "bn1");
  net.Conv("c2", "relu1", {4, 3, 1, 1});
  net.BatchNorm("bn2", "c2");
  net.Add("add", {"bn2", "relu"});
  net.Relu("relu2", "add");
  net.GlobalAveragePool("pool", "relu2");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 2);
  return net.Take();
}

TEST(SizeAfterRemovalTest, StreamsKeepTheirWidth) {
  const NetworkInfo info = Ones(Residual(), {}).info();
  // Two of the stem's filters are off: c1 still reads four channels. bn's constants max(0, -1) vanish.
  const int64_t macs = info.MacCount() - 16 * 2 * 27;
  ExpectSize(Ones(Residual(), {{"stem", {0, 1}}}), info.ParameterCount() - 2 * 27 - 4, macs);
  // With constants of 0.5 two values are stored in the stream.
  ExpectSize(Ones(Residual(), {{"stem", {0, 1}}}, {{"bn", 0.5}}), info.ParameterCount() - 2 * 27 - 4 + 2, macs);
}

TEST(SizeAfterRemovalTest, ABlockWhoseLastConvolutionIsDeadLeavesItsConstants) {
  // The stem, four constants added to the stream, and the linear layer.
  ExpectSize(Ones(Residual(), {{"c2", {0, 1, 2, 3}}}, {{"bn2", 0.25}}), 4 * 27 + 8 + 4 + 10, 16 * 4 * 27 + 8);
}

// image(2) -> a(4) -> bn -> relu -> g(4, 2 groups) -> pool -> linear(3)
Network Grouped() {
  NetworkWriter net;
  net.Image(2, 4, 4);
  net.Conv("a", "image", {4, 1});
  net.BatchNorm("bn", "a");
  net.Relu("relu", "bn");
  net.Conv("g", "relu", {4, 3, 1, 1, false, 2});
  net.GlobalAveragePool("pool", "g");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 3);
  return net.Take();
}

TEST(SizeAfterRemovalTest, GroupsGoAsAWholeOrStayEquallyWide) {
  const NetworkInfo info = Ones(Grouped(), {}).info();
  for (const double shift : {-1.0, 0.5}) {
    SCOPED_TRACE(shift);
    // One filter of one group, with or without a constant: nothing can be removed, and nothing is stored.
    ExpectSize(Ones(Grouped(), {{"a", {0}}}, {{"bn", shift}}), info.ParameterCount(), info.MacCount());
    // One filter of each group: two filters of a with their BN, and one input of each of g's filters. Of their
    // constants nine numbers a filter are stored: corners, edges, inside.
    const int64_t stored = shift > 0 ? 4 * 9 : 0;
    ExpectSize(Ones(Grouped(), {{"a", {0, 3}}}, {{"bn", shift}}), (2 * 2 + 4) + 4 * 9 + (3 * 4 + 3) + stored,
               16 * 2 * 2 + 16 * 4 * 9 + 3 * 4);
    // A group without live inputs: two filters of a with their BN, two of g, and two inputs of the linear layer are
    // removed.
    ExpectSize(Ones(Grouped(), {{"a", {0, 1}}}, {{"bn", shift}}), (2 * 2 + 4) + 2 * 2 * 9 + (3 * 2 + 3),
               16 * 2 * 2 + 16 * 2 * 2 * 9 + 3 * 2);
  }
}

// Where the constant is larger, the network stays as it is: channel 1 of two depthwise convolutions reaches the sum as
// a picture of 25 different pixels.
TEST(SizeAfterRemovalTest, NothingBecomesLarger) {
  NetworkWriter net;
  net.Image(1, 9, 9);
  net.Conv("a", "image", {2, 1, 1, 0, true});
  net.Conv("b", "a", {2, 3, 1, 1, false, 2});
  net.Conv("c", "b", {2, 3, 1, 1, false, 2});
  net.Conv("d", "image", {2, 3, 1, 1});
  net.Add("sum", {"c", "d"});
  net.Flatten("flat", "sum");
  net.Linear("fc", "flat", 2);
  const Model model = Ones(net.Take(), {{"a", {1}}});
  // This removes a filter of a (2 numbers) and one of b and of c (9 each), and adds its 25 pixels.
  model.Get("a.bias").detach()[1] = 0.5;
  ExpectSize(model, model.info().ParameterCount(), model.info().MacCount());
  model.Get("a.bias").detach()[1] = 0;
  ExpectSize(model, model.info().ParameterCount() - 2 - 9 - 9, model.info().MacCount() - 81 - 2 * 81 * 9);
}

}  // namespace
}  // namespace prunelab
