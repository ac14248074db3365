// Fresh weights: which distribution each operator's have.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ml/execution/model.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// Two convolutions, the second with groups and bias, and two linear layers; of the second of each the deviation is
// given, if it is above 0.
Model Fresh(double conv_deviation, double linear_deviation) {
  NetworkWriter net;
  std::string x = net.Conv("conv1", net.Image(8, 4, 4), {16, 3, 1, 1});
  x = net.Conv("conv2", x, {64, 3, 1, 1, /*bias=*/true, /*groups=*/4});
  if (conv_deviation > 0) net.last().mutable_conv2d()->set_initial_deviation(conv_deviation);
  x = net.Linear("fc1", net.Flatten("flatten", x), 10);
  net.Linear("fc2", x, 400);
  if (linear_deviation > 0) net.last().mutable_linear()->set_initial_deviation(linear_deviation);
  Model model = Model::Create(BuiltNetwork(net.Take()), at::kDouble, at::kCPU);
  InitializeParameters(model, 7);
  return model;
}

double Deviation(const at::Tensor& values) { return values.detach().square().mean().sqrt().item<double>(); }

TEST(InitialWeightsTest, UnsetIsHesRuleAndPyTorchsDefault) {
  const Model model = Fresh(0, 0);
  // 64 output channels in 4 groups read each input of a group 9 times 16 times.
  EXPECT_NEAR(Deviation(model.Get("conv2.weight")), std::sqrt(2.0 / (16 * 9)), 0.005);
  EXPECT_EQ(Deviation(model.Get("conv2.bias")), 0);
  const double bound = 1 / std::sqrt(10.0);
  EXPECT_LE(model.Get("fc2.weight").abs().max().item<double>(), bound);
  EXPECT_NEAR(Deviation(model.Get("fc2.weight")), bound / std::sqrt(3.0), 0.005);
  EXPECT_NEAR(Deviation(model.Get("fc2.bias")), bound / std::sqrt(3.0), 0.02);
}

TEST(InitialWeightsTest, AGivenDeviationScalesTheSameNumbers) {
  const Model unset = Fresh(0, 0), given = Fresh(0.02, 0.01);
  const at::Tensor he = unset.Get("conv2.weight") / std::sqrt(2.0 / (16 * 9));
  EXPECT_TRUE(at::allclose(given.Get("conv2.weight"), he * 0.02, 1e-12, 0));
  EXPECT_EQ(Deviation(given.Get("conv2.bias")), 0);
  const at::Tensor weight = given.Get("fc2.weight");
  EXPECT_NEAR(Deviation(weight), 0.01, 0.0005);
  EXPECT_GT(weight.abs().max().item<double>(), 0.025);  // normal: beyond sqrt(3) deviations, where uniform ends
  EXPECT_EQ(Deviation(given.Get("fc2.bias")), 0);
  // Nothing else changes.
  for (const char* name : {"conv1.weight", "fc1.weight", "fc1.bias"}) {
    EXPECT_TRUE(at::equal(unset.Get(name), given.Get(name))) << name;
  }
}

TEST(InitialWeightsTest, RefusesWhatIsNoDeviation) {
  for (const double deviation : {-1.0, std::nan(""), 1e6}) {
    NetworkWriter net;
    net.Conv("conv", net.Image(3, 4, 4), {4, 1, 1, 0});
    net.last().mutable_conv2d()->set_initial_deviation(deviation);
    net.Classifier("fc", "conv", 2);
    EXPECT_FALSE(NetworkInfo::Create(net.Take()).ok()) << deviation;
  }
}

}  // namespace
}  // namespace prunelab
