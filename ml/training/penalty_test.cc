#include "ml/training/penalty.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "ml/execution/model.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// The sum of the batch norms' shifts times 1, 2, 3, ..., and of all weights.
class ShiftsAndWeights : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    at::Tensor sum = at::zeros({}, at::kDouble);
    for (const RegularizedLayer& layer : layers) {
      sum = sum + layer.weight.sum();
      if (layer.shift.defined()) sum = sum + (layer.shift * at::arange(1, layer.shift.numel() + 1, at::kDouble)).sum();
    }
    return sum;
  }
};

// A batch norm is followed by a node that has a bias and no weight, and by a linear layer that has both.
Model Shifted() {
  NetworkWriter net;
  net.Image(1, 4, 4, "x");
  net.Conv("conv", "x", {3, 1});
  net.BatchNorm("bn", "conv");
  ChannelScale* scale = net.Append("scale", {"bn"})->mutable_channel_scale();
  scale->set_weight(false);
  scale->set_bias(true);
  net.Classifier("fc", "scale", 2);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kDouble, at::kCPU);
  InitializeParameters(model, 1);
  return model;
}

// What the penalty adds to gradients of zero, by parameter.
std::map<std::string, at::Tensor> Added(const StepPenalty& penalty, const Model& model) {
  std::vector<at::Tensor> gradients;
  for (const NamedTensor& parameter : model.parameters())
    gradients.push_back(at::zeros_like(parameter.tensor.detach()));
  penalty.AddTo(gradients, model, {}, nullptr);
  std::map<std::string, at::Tensor> added;
  for (size_t i = 0; i < gradients.size(); ++i) added[model.parameters()[i].name] = gradients[i];
  return added;
}

TEST(StepPenaltyTest, GradientsOfShiftsGoToTheirBatchNorms) {
  const Model model = Shifted();
  const ShiftsAndWeights regularizer;
  const std::map<std::string, at::Tensor> added = Added(StepPenalty(regularizer, 0.5, std::nullopt, model), model);
  EXPECT_TRUE(at::equal(added.at("bn.bias"), at::tensor({0.5, 1.0, 1.5}, at::kDouble)));
  EXPECT_EQ(added.at("scale.bias").abs().max().item<double>(), 0);
  EXPECT_EQ(added.at("fc.bias").abs().max().item<double>(), 0);
  for (const char* name : {"conv.weight", "bn.weight", "fc.weight"}) {
    EXPECT_TRUE(at::equal(added.at(name), at::full_like(added.at(name), 0.5))) << name;
  }
}

TEST(StepPenaltyTest, TheWeightGrows) {
  const Model model = Shifted();
  const ShiftsAndWeights regularizer;
  WeightGrowth growth;
  growth.set_period(3);
  growth.set_until(0.25);
  StepPenalty penalty(regularizer, 0.1, growth, model);
  const std::vector<double> expected = {0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.25, 0.25, 0.25, 0.25};
  for (size_t step = 0; step < expected.size(); ++step) {
    penalty.SetStep(static_cast<int64_t>(step));
    EXPECT_EQ(penalty.weight(), expected[step]) << step;
    EXPECT_EQ(Added(penalty, model).at("conv.weight")[0].item<double>(), expected[step]) << step;
  }
  StepPenalty constant(regularizer, 0.1, std::nullopt, model);
  constant.SetStep(1000);
  EXPECT_EQ(constant.weight(), 0.1);
}

}  // namespace
}  // namespace prunelab
