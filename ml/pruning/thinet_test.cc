#include "ml/pruning/thinet.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/reference_network.h"
#include "ml/pruning/thinet.pb.h"

namespace prunelab {
namespace {

using Channels = std::vector<bool>;

at::Tensor Relu2(const ReferenceNetwork& reference) {
  ProbeRequest request;
  request.images = reference.Images();
  request.capture = {"relu2"};
  return reference.probe().Forward(request).captured.at("relu2");
}

TEST(ThinetTest, ContributionsChoiceAndScaleAreThoseOfNumpy) {
  const ReferenceNetwork reference;
  std::vector<SampledOutput> samples;
  for (int64_t k = 0; k < 80; ++k) samples.push_back({k % 12, 5 * k % 16, 3 * k % 7});
  const Conv2d& conv3 = reference.info().node(reference.info().Index("conv3")).conv2d();
  const at::Tensor x =
      ChannelContributions(Relu2(reference), reference.model().Get("conv3.weight").detach(), conv3, samples);
  EXPECT_TRUE(AgreesWithReference(x, reference.Value("thinet.x")));
  const Channels discarded = DiscardChannels(x, Channels(8), 4);
  for (int64_t c = 0; c < 8; ++c) EXPECT_EQ(discarded[c], reference.Value("thinet.kept")[c].item<double>() == 0) << c;
  EXPECT_TRUE(AgreesWithReference(LeastSquaresScale(x, discarded), reference.Value("thinet.scale")));
}

TEST(ThinetTest, TheGreedyChoiceByHand) {
  // Alone, column 2 is lost at the least cost; then column 0, which cancels it, and not the smaller column 1.
  const at::Tensor x = at::tensor({-2.0, 1.5, 1.0, 9.0, 0.0, 0.0, 0.0, 9.0}).view({2, 4});
  EXPECT_EQ(DiscardChannels(x, Channels(4), 1), (Channels{false, false, true, false}));
  EXPECT_EQ(DiscardChannels(x, Channels(4), 2), (Channels{true, false, true, false}));
  // What is off already counts.
  EXPECT_EQ(DiscardChannels(x, {true, false, false, false}, 2), (Channels{true, true, false, false}));
  EXPECT_EQ(DiscardChannels(x, {true, false, false, false}, 1), (Channels{true, false, false, false}));
}

TEST(ThinetTest, TheNumberGivenUp) {
  EXPECT_EQ(GivenUpCount(8, 0), 0);
  EXPECT_EQ(GivenUpCount(8, 0.5), 4);
  EXPECT_EQ(GivenUpCount(16, 0.9), 15);
  EXPECT_EQ(GivenUpCount(160, 0.9), 144);  // 160 (1 - 0.9) is below 16 in doubles
  EXPECT_EQ(GivenUpCount(100, 0.07), 7);   // 100 * 0.07 is above 7
}

TEST(ThinetTest, TheScaleByHand) {
  // y = (3, 1); column 0 alone is (1, 1): w = 2. A column of zeros keeps its 1.
  const at::Tensor x = at::tensor({1.0, 2.0, 0.0, 1.0, 0.0, 0.0}).view({2, 3});
  EXPECT_TRUE(at::allclose(LeastSquaresScale(x, {false, true, false}), at::tensor({2.0, 1.0, 1.0})));
  EXPECT_TRUE(at::allclose(LeastSquaresScale(x, {false, false, false}), at::ones({3}, at::kDouble)));
}

TEST(ThinetTest, AGivenUpChannelIsGoneAndTheNextLayerRebuildsItsOutput) {
  const ReferenceNetwork reference;
  Thinet parameters;
  parameters.set_rate(0.5);
  parameters.mutable_layers()->set_include("conv2");
  parameters.set_samples_per_image(100);
  const auto strategy = *CreatePruningStrategy(parameters, reference.Setup());
  const MaskUpdate update = reference.FirstUpdate(*strategy);
  ASSERT_EQ(update.masks.size(), 1);
  const at::Tensor mask = update.masks.at("conv2").flatten();
  EXPECT_EQ(mask.sum().item<double>(), 4);
  EXPECT_TRUE(update.new_weights.at("bn2.weight").equal(reference.Value("bn2.weight") * mask));
  EXPECT_TRUE(update.new_weights.at("bn2.bias").equal(reference.Value("bn2.bias") * mask));

  ProbeRequest request;
  request.images = reference.Images();
  request.capture = {"relu2", "conv3"};
  const at::Tensor whole = reference.probe().Forward(request).captured.at("conv3");
  request.masks = update.masks;
  const auto error = [&](const ProbeResult& result) {
    return (result.captured.at("conv3") - whole).norm().item<double>();
  };
  request.parameters = update.new_weights;
  const ProbeResult rescaled = reference.probe().Forward(request);
  EXPECT_EQ((rescaled.captured.at("relu2").abs().amax({0, 2, 3}) * (1 - mask)).max().item<double>(), 0);
  request.parameters.erase("conv3.weight");
  EXPECT_LT(error(rescaled), error(reference.probe().Forward(request)));
}

// As after a phase of weight pruning.
TEST(ThinetTest, AFilterUnderAWeightMaskIsOffOnlyWhereAllItsWeightsAre) {
  const ReferenceNetwork reference;
  Thinet parameters;
  parameters.mutable_layers()->set_include("conv2");
  const auto strategy = *CreatePruningStrategy(parameters, reference.Setup());
  const at::Tensor expected = reference.FirstUpdate(*strategy).masks.at("conv2");
  const int64_t kept = expected.flatten().argmax().item<int64_t>();
  for (const bool all : {false, true}) {
    std::vector<PrunableLayer> layers = reference.Layers(Granularity::kWeight);
    at::Tensor filter = layers[1].mask[kept];
    ASSERT_EQ(layers[1].node, "conv2");
    (all ? filter : filter[0]).zero_();
    const auto update = *strategy->Update({0, 0, 1, 1}, layers);
    ASSERT_TRUE(update.has_value());
    const at::Tensor mask = update->masks.at("conv2");
    EXPECT_EQ(mask.sum().item<double>(), 4);
    EXPECT_EQ(mask[kept].item<double>(), all ? 0 : 1);
    if (!all) EXPECT_TRUE(mask.equal(expected));
  }
}

TEST(ThinetTest, TheNextConvolutionIsReadUnderItsMask) {
  const ReferenceNetwork reference;
  Thinet parameters;
  parameters.mutable_layers()->set_include("conv2");
  const auto strategy = *CreatePruningStrategy(parameters, reference.Setup());
  EXPECT_FALSE(reference.FirstUpdate(*strategy).masks.at("conv2").flatten().slice(0, 0, 4).eq(0).all().item<bool>());
  std::vector<PrunableLayer> layers = reference.Layers(Granularity::kFilter);
  ASSERT_EQ(layers[2].node, "conv3");
  layers[2].mask.zero_();  // nothing is lost with any channel, so they go in their order
  const auto update = *strategy->Update({0, 0, 1, 1}, layers);
  ASSERT_TRUE(update.has_value());
  EXPECT_TRUE(update->masks.at("conv2").flatten().slice(0, 0, 4).eq(0).all().item<bool>());
}

TEST(ThinetTest, LaterLayersSeeWhatTheEarlierLeft) {
  const ReferenceNetwork reference;
  Thinet parameters;
  const auto both = *CreatePruningStrategy(parameters, reference.Setup());
  const MaskUpdate update = reference.FirstUpdate(*both);
  EXPECT_EQ(update.masks.size(), 2);  // conv2 and conv3: two read conv1, a sum conv4 and shortcut
  parameters.mutable_layers()->set_include("conv3");
  const MaskUpdate alone = reference.FirstUpdate(**CreatePruningStrategy(parameters, reference.Setup()));
  EXPECT_FALSE(at::allclose(update.new_weights.at("conv4.weight"), alone.new_weights.at("conv4.weight")));
}

TEST(ThinetTest, RefusesLayersThatItCannotJudge) {
  const ReferenceNetwork reference;
  Thinet parameters;
  parameters.mutable_layers()->set_include("conv1,shortcut");
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, reference.Setup()).status()), "layers");
  parameters.clear_layers();
  parameters.set_samples_per_image(0);
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, reference.Setup()).status()), "samples_per_image");
}

}  // namespace
}  // namespace prunelab
