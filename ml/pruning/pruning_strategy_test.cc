#include "ml/pruning/pruning_strategy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/pruning/dynamic_l1.pb.h"
#include "ml/pruning/testing/example_layers.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

class PruningStrategyTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const google::protobuf::Any& any) const {
    PruningSetup setup;
    setup.network = &network_;
    return CreatePruningStrategy(any, setup);
  }
  const NetworkInfo network_ = ExampleNetwork();
};

TEST_F(PruningStrategyTest, LinkedStrategiesSayWhatTheyAre) {
  const auto& linked = PruningStrategies().linked();
  for (const char* name : {"NoPruning", "DynamicL1", "Static", "Unstructured", "Random"}) {
    const auto found = linked.find(std::string("prunelab.") + name);
    ASSERT_NE(found, linked.end()) << name;
    EXPECT_FALSE(found->second.method().summary().empty());
  }
  EXPECT_EQ(linked.at("prunelab.NoPruning").target, "//ml/pruning:none");
  EXPECT_EQ(linked.at("prunelab.DynamicL1").target, "//ml/pruning:dynamic_l1");
}

TEST_F(PruningStrategyTest, LayersWithARateAreThoseThatArePruned) {
  const std::string first = network_.convs()[0].node, second = network_.convs()[1].node;
  const auto refused = [&](const std::string& layer, const std::string& include) {
    DynamicL1 parameters;
    parameters.mutable_layers()->set_include(include);
    parameters.mutable_ranking()->set_scope(Ranking::LAYER_RATES);
    LayerRate* rate = parameters.mutable_ranking()->add_layer_rate();
    rate->set_layer(layer);
    rate->set_rate(0.5);
    google::protobuf::Any any;
    any.PackFrom(parameters);
    return ErrorField(Create(any).status());
  };
  EXPECT_EQ(refused(first, "*"), "");
  EXPECT_EQ(refused("nothing_like_it", "*"), "ranking.layer_rate[0].layer");
  EXPECT_EQ(refused(second, first), "ranking.layer_rate[0].layer");
}

TEST_F(PruningStrategyTest, CreatesWhatTheParametersName) {
  DynamicL1 parameters;
  parameters.set_granularity(MaskUnit::WEIGHT);
  google::protobuf::Any any;
  any.PackFrom(parameters);
  const auto strategy = Create(any);
  ASSERT_TRUE(strategy.ok()) << strategy.status();
  EXPECT_EQ((*strategy)->granularity(), Granularity::kWeight);
  parameters.set_rate(1);
  any.PackFrom(parameters);
  EXPECT_EQ(ErrorField(Create(any).status()), "rate");
}

TEST_F(PruningStrategyTest, RefusesWhatIsNotLinked) {
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/prunelab.Oscillation");
  const absl::Status status = Create(any).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("prunelab.DynamicL1"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("//ml/pruning:oscillation"));
}

}  // namespace
}  // namespace prunelab
