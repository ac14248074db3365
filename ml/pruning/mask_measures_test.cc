#include "ml/pruning/mask_measures.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

// 4 filters of 3 weights (12), BN 8, 2 filters of 4 weights with biases (8 + 2), linear 2 x 3 + 3: 39 parameters.
NetworkInfo TwoConvs() {
  NetworkWriter net;
  net.Image(3, 4, 4);
  net.Conv("a", "image", {4, 1});
  net.BatchNorm("bn", "a");
  net.Conv("b", "bn", {2, 1, 1, 0, true});
  net.GlobalAveragePool("pool", "b");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 3);
  return *NetworkInfo::Create(net.Take());
}

at::Tensor Filters(std::vector<float> values) {
  return at::tensor(values).reshape({static_cast<int64_t>(values.size()), 1, 1, 1});
}

TEST(MaskMeasuresTest, NoMasksMeasureZero) {
  const MaskMeasures measures = MeasureMasks(TwoConvs(), {});
  EXPECT_EQ(measures.filters, 6);
  EXPECT_EQ(measures.conv_weights, 20);
  EXPECT_EQ(measures.parameters, 39);
  EXPECT_EQ(measures.filter_sparsity, 0);
  EXPECT_EQ(measures.paper_sparsity, 0);
  EXPECT_THAT(measures.live_filters, ElementsAre(Pair("a", 4), Pair("b", 2)));
}

TEST(MaskMeasuresTest, FilterMasks) {
  const MaskMeasures measures = MeasureMasks(TwoConvs(), {{"a", Filters({1, 0, 0, 1})}});
  EXPECT_EQ(measures.masked_filters, 2);
  EXPECT_EQ(measures.masked_weights, 6);
  EXPECT_DOUBLE_EQ(measures.filter_sparsity, 2.0 / 6);
  EXPECT_DOUBLE_EQ(measures.weight_sparsity, 6.0 / 20);
  EXPECT_DOUBLE_EQ(measures.paper_sparsity, 6.0 / 39);
  EXPECT_THAT(measures.live_filters, ElementsAre(Pair("a", 2), Pair("b", 2)));
}

TEST(MaskMeasuresTest, AFilterOfAWeightMaskIsMaskedOnlyWhenAllItsWeightsAre) {
  const at::Tensor mask = at::tensor({0., 0., 0., 0., 1., 0., 0., 0.}).reshape({2, 4, 1, 1});
  const MaskMeasures measures = MeasureMasks(TwoConvs(), {{"b", mask}});
  EXPECT_EQ(measures.masked_filters, 1);
  EXPECT_EQ(measures.masked_weights, 7);
  EXPECT_THAT(measures.live_filters, ElementsAre(Pair("a", 4), Pair("b", 1)));
}

TEST(MaskMeasuresTest, ChannelsLastMasksAreReadByIndex) {
  const at::Tensor mask = at::ones({4, 3, 2, 2});
  Network network = TwoConvs().network();
  network.mutable_node(1)->mutable_conv2d()->set_kernel_height(2);
  network.mutable_node(1)->mutable_conv2d()->set_kernel_width(2);
  mask[2].zero_();
  const MaskMeasures measures =
      MeasureMasks(*NetworkInfo::Create(network), {{"a", mask.contiguous(at::MemoryFormat::ChannelsLast)}});
  EXPECT_EQ(measures.masked_filters, 1);
  EXPECT_EQ(measures.masked_weights, 12);
}

TEST(MaskMeasuresTest, Changes) {
  const NetworkInfo info = TwoConvs();
  const auto changes = [&](const std::map<std::string, at::Tensor>& before,
                           const std::map<std::string, at::Tensor>& after) {
    const at::Tensor counts = CountMaskChanges(info, before, after);
    EXPECT_EQ(counts.scalar_type(), at::kLong);
    return std::make_pair(counts[0].item<int64_t>(), counts[1].item<int64_t>());
  };
  using Counts = std::pair<int64_t, int64_t>;  // changed, returned
  EXPECT_EQ(changes({}, {}), Counts(0, 0));
  // A missing mask is all on.
  EXPECT_EQ(changes({}, {{"a", Filters({1, 0, 0, 1})}}), Counts(2, 0));
  EXPECT_EQ(changes({{"a", Filters({1, 0, 0, 1})}}, {{"a", Filters({0, 0, 1, 1})}, {"b", Filters({0, 1})}}),
            Counts(3, 1));
  EXPECT_EQ(changes({{"a", Filters({1, 0, 0, 1})}}, {}), Counts(2, 2));
  // Filters against weights: counted in weights.
  const at::Tensor weights = at::tensor({0., 1., 0., 0., 1., 1., 1., 1.}).reshape({2, 4, 1, 1});
  EXPECT_EQ(changes({{"b", Filters({0, 1})}}, {{"b", weights}}), Counts(1, 1));
}

}  // namespace
}  // namespace prunelab
