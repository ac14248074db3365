#include "ml/compression/fastest_multiple.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "ml/compression/compressed_model.h"
#include "ml/compression/testing/random_models.h"
#include "ml/models/resnet_cifar.h"

namespace prunelab {
namespace {

TriedMultiple Tried(int64_t multiple, double median) {
  TriedMultiple tried;
  tried.multiple = multiple;
  tried.latency.median = median;
  return tried;
}

TEST(FastestMultipleTest, TheSmallestOfThoseThatAreNoSlower) {
  EXPECT_EQ(ChooseMultiple({Tried(1, 1.01), Tried(4, 1.005), Tried(8, 1.0), Tried(16, 1.5)}), 1);
  EXPECT_EQ(ChooseMultiple({Tried(1, 1.03), Tried(4, 1.019), Tried(8, 1.0), Tried(16, 1.5)}), 4);
  EXPECT_EQ(ChooseMultiple({Tried(1, 3), Tried(4, 2), Tried(8, 1.0), Tried(16, 1.5)}), 8);
  EXPECT_EQ(ChooseMultiple({Tried(1, 3)}), 1);
}

TEST(FastestMultipleTest, TriesEachAndTakesOneOfThem) {
  ResNetCifar parameters;
  parameters.set_depth(8);
  parameters.set_image_size(8);
  Model model = RandomModel(*NetworkInfo::Create(*CreateResNetCifar(parameters, {})), at::kFloat, 3);
  SetRandomMasks(model, MaskKind::kUniform, 5);
  const absl::StatusOr<WeightedNetwork> network = ToWeightedNetwork(model);
  ASSERT_TRUE(network.ok());
  CompressionOptions options;
  options.fold_batch_norm = true;
  const FastestMultiple fastest = FindFastestMultiple(*network, options, 2, at::kCPU, /*seconds=*/0);
  std::vector<int64_t> multiples;
  for (const TriedMultiple& tried : fastest.tried) {
    multiples.push_back(tried.multiple);
    EXPECT_EQ(tried.latency.runs, 3);
    EXPECT_GT(tried.latency.median, 0);
    options.channel_multiple = tried.multiple;
    const NetworkInfo info = CompressModel(model, options)->model.info();
    EXPECT_EQ(tried.parameters, info.ParameterCount() + info.StoredConstantCount()) << tried.multiple;
  }
  EXPECT_THAT(multiples, testing::ElementsAre(1, 4, 8, 16));
  EXPECT_LT(fastest.tried[0].parameters, fastest.tried[2].parameters);
  // With layers of 16 channels and stored constants, a multiple of 16 would make the network larger than it was, so it
  // is not rounded.
  EXPECT_EQ(fastest.tried[3].parameters, fastest.tried[0].parameters);
  EXPECT_EQ(fastest.multiple, ChooseMultiple(fastest.tried));
}

}  // namespace
}  // namespace prunelab
