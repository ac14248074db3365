#include "ml/execution/fused_plan.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "ml/execution/norm_units.h"
#include "ml/execution/testing/plan_comparison.h"
#include "ml/execution/waiting_calls.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using testing::IsEmpty;

void ExpectSameStep(const NetworkInfo& info, const std::map<std::string, at::Tensor>& masks,
                    const ForwardOptions& options) {
  FusedPlan plan;
  ExpectSameStep(plan, info, masks, options);
}

TEST(FusedPlanTest, ADenseStepEqualsTheReferencePlan) {
  for (const char* text : kNetworks) {
    SCOPED_TRACE(text);
    ExpectSameStep(Build(text), {}, {});
  }
}

TEST(FusedPlanTest, UnevenWindowsAreNotTakenForEvenOnes) {
  for (const NetworkInfo& info : UnevenConvolutions()) {
    SCOPED_TRACE(info.node(info.Index("conv")).ShortDebugString());
    ExpectSameStep(info, {}, {});
    ExpectSameStep(info, SomeMasks(info, 0.5), {});
  }
}

TEST(FusedPlanTest, AMaskedStepEqualsTheReferencePlan) {
  const NetworkInfo info = Build(kResNet20);
  for (const GradientPolicy policy : {GradientPolicy::kStraightThrough, GradientPolicy::kMasked}) {
    ForwardOptions options;
    options.policy = policy;
    ExpectSameStep(info, SomeMasks(info, 0.6), options);
  }
}

TEST(FusedPlanTest, CapturedNodesAreNotFusedAway) {
  const NetworkInfo info = Build(kResNet20);
  ForwardOptions all;
  for (const Node& node : info.network().node()) all.capture.insert(node.name());
  ExpectSameStep(info, SomeMasks(info, 0.6), all);
  for (const char* node : {"relu", "layer1.0.bn1", "layer3.2.relu1", "layer2.0.bn2", "layer3.2.add", "flatten"}) {
    SCOPED_TRACE(node);
    ASSERT_GE(info.Index(node), 0);
    ForwardOptions one;
    one.capture = {node};
    ExpectSameStep(info, {}, one);
  }
}

TEST(FusedPlanTest, BatchNormMomentumOfTheCallIsTaken) {
  ForwardOptions options;
  options.batch_norm_momentum = 0.5;
  ExpectSameStep(Build(kResNet20), {}, options);
}

// Every norm of a ResNet is in a unit, with its ReLU or its sum.
TEST(FusedPlanTest, UnitsOfAResNet) {
  const NetworkInfo info = Build(kResNet20);
  const auto every = [](int) { return true; };
  std::set<int> nodes;
  int adds = 0, relus = 0;
  const std::vector<NormUnit> units = FindNormUnits(info, {}, /*ceilings=*/false, every);
  for (const NormUnit& unit : units) {
    for (const int i : {unit.norm, unit.add, unit.relu}) EXPECT_TRUE(i < 0 || nodes.insert(i).second) << i;
    adds += unit.add >= 0;
    relus += unit.relu >= 0;
    EXPECT_EQ(unit.add >= 0, unit.other >= 0);
  }
  EXPECT_EQ(units.size(), info.convs().size());
  EXPECT_EQ(adds, 9);        // a block's
  EXPECT_EQ(relus, 1 + 18);  // the stem's, two in a block
  // A norm whose output is captured is not fused.
  const std::vector<NormUnit> captured = FindNormUnits(info, {"bn1"}, /*ceilings=*/false, every);
  EXPECT_EQ(captured[0].output, captured[0].norm);
  EXPECT_EQ(captured[0].relu, -1);
}

// Removed networks have stored constants that repeat.
Network Removed() {
  NetworkWriter net;
  net.Image(3, 8, 8);
  net.Conv("conv", "image", {5, 3, 1, 1});
  net.BatchNorm("bn", "conv");
  net.Scatter("scatter", "bn", 8, {0, 2, 3, 5, 7});
  net.Constant("constant", 8, 8, 8, {{1, 6, 1}, {1, 6, 1}});
  net.Add("add", {"scatter", "constant"});
  net.GlobalAveragePool("pool", "add");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 10);
  return net.Take();
}

TEST(FusedPlanTest, NothingOfAStepWaitsForTheDevice) {
  for (const NetworkInfo& info : {Build(kResNet20), *NetworkInfo::Create(Removed())}) {
    Model model = MakeModel(info);
    model.SetMasks(SomeMasks(info, 0.6));
    const at::Tensor images = Values({6, 3, 8, 8}, 0.37).contiguous(at::MemoryFormat::ChannelsLast);
    FusedPlan plan;
    ForwardOptions options;
    options.policy = GradientPolicy::kMasked;
    EXPECT_THAT(WaitingCalls([&] { Step(plan, model, images, options); }), IsEmpty());
  }
}

// LibTorch has these on its "meta" device, whose tensors hold no data, only for Python.
at::Tensor MetaConvolution(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                           c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
                           bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups) {
  const auto extent = [&](int64_t d) {
    const int64_t span = dilation[d].expect_int() * (weight.size(d + 2) - 1) + 1;
    return (x.size(d + 2) + 2 * padding[d].expect_int() - span) / stride[d].expect_int() + 1;
  };
  return at::empty({x.size(0), weight.size(0), extent(0), extent(1)}, x.options());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> MetaConvolutionBackward(
    const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight, c10::SymIntArrayRef stride,
    c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed, c10::SymIntArrayRef output_padding,
    c10::SymInt groups, std::array<bool, 3> wanted) {
  return {at::empty_like(x), at::empty_like(weight), at::empty({weight.size(0)}, x.options())};
}

at::Tensor MetaIndexSelect(const at::Tensor& x, int64_t dimension, const at::Tensor& index) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape[dimension] = index.numel();
  return at::empty(shape, x.options());
}

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("convolution_overrideable", &MetaConvolution);
  library.impl("convolution_backward_overrideable", &MetaConvolutionBackward);
  library.impl("index_select", &MetaIndexSelect);
}

// On a device without data, copies from the host and to the host are detected as well. Shortcuts without parameters
// scatter by an index.
TEST(FusedPlanTest, NothingOfAStepComesFromTheHost) {
  for (const char* text : {kResNet20, "ResNetCifar] { depth: 8 shortcut: PARAMETER_FREE image_size: 8 }"}) {
    SCOPED_TRACE(text);
    const NetworkInfo info = Build(text);
    Model model = Model::Create(info, at::kFloat, at::kMeta);
    std::map<std::string, at::Tensor> masks;
    for (const ConvInfo& conv : info.convs()) masks[conv.node] = at::ones({conv.filters, 1, 1, 1}, at::kMeta);
    model.SetMasks(masks);
    std::vector<at::Tensor> parameters;
    for (const NamedTensor& parameter : model.parameters()) parameters.push_back(parameter.tensor);
    const at::Tensor images = at::empty({4, 3, 8, 8}, at::kMeta).contiguous(at::MemoryFormat::ChannelsLast);
    FusedPlan plan;
    const auto step = [&] {
      ForwardOptions options;
      options.mode = Mode::kTrain;
      const at::Tensor logits = plan.Forward(model, images, options).logits;
      torch::autograd::grad({logits.sum()}, parameters);
    };
    step();  // what is made once
    EXPECT_THAT(WaitingCalls(step), IsEmpty());
  }
}

}  // namespace
}  // namespace prunelab
