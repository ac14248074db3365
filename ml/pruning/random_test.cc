#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/random.pb.h"
#include "ml/pruning/testing/example_layers.h"

namespace prunelab {
namespace {

using Masks = std::map<std::string, at::Tensor>;

class RandomTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const Random& parameters, uint64_t seed = 1) const {
    PruningSetup setup;
    setup.network = &network_;
    setup.seed = seed;
    return CreatePruningStrategy(parameters, setup);
  }
  static StepPosition At(int64_t epoch, int64_t iteration) {
    StepPosition position;
    position.epoch = epoch;
    position.iteration = iteration;
    position.iterations_per_epoch = 8;
    return position;
  }
  static bool Equal(const Masks& a, const Masks& b) {
    for (const auto& [node, mask] : a) {
      if (!at::equal(mask, b.at(node))) return false;
    }
    return a.size() == b.size();
  }
  // The masks of the first draw.
  Masks Draw(const Random& parameters, uint64_t seed) const {
    return (*(*Create(parameters, seed))->Update(At(0, 0), ExampleLayers(Granularity::kFilter, 1)))->masks;
  }
  const NetworkInfo network_ = ExampleNetwork();
};

TEST_F(RandomTest, MasksThePapersNumberWhateverTheWeights) {
  Random parameters;
  const Masks masks = Draw(parameters, 1);
  EXPECT_EQ(MaskedCount(masks), 22);  // int(36 * 0.6) + 1
  const auto strategy = *Create(parameters, 1);
  EXPECT_TRUE(Equal((*strategy->Update(At(0, 0), ExampleLayers(Granularity::kFilter, 2)))->masks, masks));
  EXPECT_FALSE(Equal(Draw(parameters, 2), masks));
  parameters.mutable_ranking()->set_scope(Ranking::PER_LAYER);
  for (const auto& [node, mask] : Draw(parameters, 1)) {
    EXPECT_EQ(mask.eq(0).sum().item<int64_t>(), static_cast<int64_t>(mask.numel() * 0.6) + 1) << node;
  }
}

TEST_F(RandomTest, FixedOrRedrawn) {
  const std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  Random parameters;
  const auto fixed = *Create(parameters);
  EXPECT_TRUE((*fixed->Update(At(0, 0), layers)).has_value());
  EXPECT_FALSE((*fixed->Update(At(0, 3), layers)).has_value());
  EXPECT_FALSE((*fixed->Update(At(1, 0), layers)).has_value());
  parameters.set_redraw(true);
  const auto redrawn = *Create(parameters);
  EXPECT_FALSE((*redrawn->Update(At(0, 0), layers)).has_value());
  const Masks first = (*redrawn->Update(At(0, 3), layers))->masks;
  const Masks second = (*redrawn->Update(At(0, 7), layers))->masks;
  const Masks next_epoch = (*redrawn->Update(At(1, 3), layers))->masks;
  EXPECT_FALSE(Equal(first, second));
  EXPECT_FALSE(Equal(first, next_epoch));
  EXPECT_EQ(MaskedCount(second), 22);
}

// Over many seeds each filter is masked equally often: 22 of 36 times, with standard deviation 0.0244 at 400 seeds.
TEST_F(RandomTest, EveryFilterIsAsLikely) {
  const int64_t seeds = 400;
  Masks sums;
  for (int64_t seed = 0; seed < seeds; ++seed) {
    for (const auto& [node, mask] : Draw(Random(), seed)) {
      sums[node] = sums.count(node) ? sums[node] + mask : mask.clone();
    }
  }
  for (const auto& [node, sum] : sums) {
    const at::Tensor share = 1 - sum / seeds;
    EXPECT_LT((share - 22.0 / 36).abs().max().item<double>(), 0.1) << node;
  }
}

TEST_F(RandomTest, RefusesScopesThatScaleImportances) {
  Random parameters;
  parameters.mutable_ranking()->set_scope(Ranking::GLOBAL_LAMP);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "ranking.scope");
}

}  // namespace
}  // namespace prunelab
