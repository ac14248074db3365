#include "ml/execution/fused_plan.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "ml/execution/norm_units.h"
#include "ml/execution/plan_comparison.h"
#include "ml/execution/waiting_calls.h"

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
  const std::vector<NormUnit> units = FindNormUnits(info, {}, every);
  for (const NormUnit& unit : units) {
    for (const int i : {unit.norm, unit.add, unit.relu}) EXPECT_TRUE(i < 0 || nodes.insert(i).second) << i;
    adds += unit.add >= 0;
    relus += unit.relu >= 0;
    EXPECT_EQ(unit.add >= 0, unit.other >= 0);
  }
  EXPECT_EQ(units.size(), info.convs().size());
  EXPECT_EQ(adds, 9);        // a block's
  EXPECT_EQ(relus, 1 + 18);  // the stem's, two in a block
  // A norm whose output somebody wants stays alone.
  const std::vector<NormUnit> captured = FindNormUnits(info, {"bn1"}, every);
  EXPECT_EQ(captured[0].output, captured[0].norm);
  EXPECT_EQ(captured[0].relu, -1);
}

TEST(FusedPlanTest, NothingOfAStepWaitsForTheDevice) {
  const NetworkInfo info = Build(kResNet20);
  Model model = MakeModel(info);
  model.SetMasks(SomeMasks(info, 0.6));
  const at::Tensor images = Values({6, 3, 8, 8}, 0.37).contiguous(at::MemoryFormat::ChannelsLast);
  FusedPlan plan;
  ForwardOptions options;
  options.policy = GradientPolicy::kMasked;
  EXPECT_THAT(WaitingCalls([&] { Step(plan, model, images, options); }), IsEmpty());
}

}  // namespace
}  // namespace prunelab
