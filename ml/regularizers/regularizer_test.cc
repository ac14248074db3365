#include "ml/regularizers/regularizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "ml/network/layer_selection.pb.h"
#include "ml/regularizers/none.pb.h"
#include "ml/regularizers/testing/example_layers.h"

namespace prunelab {
namespace {

// The sum of squares of the first layer alone.
class FirstLayerSquares : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    return layers[0].weight.square().sum();
  }
};

// A value that autograd does not see.
class Constant : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override { return at::ones({}, at::kDouble); }
};

TEST(RegularizerTest, DefaultDifferentiatesValue) {
  const std::vector<RegularizedLayer> layers = FormulaLayers(at::kDouble, /*masked=*/false);
  const at::NoGradGuard callers_may_be_in_such_a_scope;
  const Penalty penalty = FirstLayerSquares().ValueAndGradients(layers);
  EXPECT_NEAR(penalty.value.item<double>(), layers[0].weight.square().sum().item<double>(), 1e-15);
  ASSERT_EQ(penalty.gradients.size(), 4u);
  EXPECT_TRUE(at::equal(penalty.gradients[0], 2 * layers[0].weight));
  for (size_t i = 1; i < 4; ++i) EXPECT_FALSE(penalty.gradients[i].defined());
  EXPECT_FALSE(penalty.value.requires_grad());
  EXPECT_FALSE(layers[0].weight.requires_grad());
}

TEST(RegularizerTest, ValueOutsideOfAutogradHasNoGradient) {
  const Penalty penalty = Constant().ValueAndGradients(FormulaLayers(at::kDouble, false));
  EXPECT_EQ(penalty.value.item<double>(), 1);
  ASSERT_EQ(penalty.gradients.size(), 4u);
  for (const at::Tensor& gradient : penalty.gradients) EXPECT_FALSE(gradient.defined());
}

TEST(RegularizerTest, CreatesWhatIsLinked) {
  google::protobuf::Any any;
  any.PackFrom(NoRegularizer());
  const auto regularizer = CreateRegularizer(any, FormulaNetwork());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  EXPECT_FALSE((*regularizer)->Value(FormulaLayers(at::kFloat, false)).defined());
}

TEST(RegularizerTest, SaysWhatIsLinkedAndWhatTargetWouldAdd) {
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/prunelab.SquaredCorrelation");
  const auto missing = CreateRegularizer(any, FormulaNetwork());
  ASSERT_FALSE(missing.ok());
  const std::string message(missing.status().message());
  EXPECT_NE(message.find("linked regularizers: prunelab.NoRegularizer"), std::string::npos) << message;
  EXPECT_NE(message.find("//ml/regularizers:squared_correlation"), std::string::npos) << message;
}

TEST(RegularizerTest, RefusesWhatIsNoRegularizerAndBrokenBytes) {
  google::protobuf::Any any;
  any.PackFrom(LayerSelection());
  EXPECT_FALSE(CreateRegularizer(any, FormulaNetwork()).ok());
  EXPECT_FALSE(CreateRegularizer(google::protobuf::Any(), FormulaNetwork()).ok());
  any.PackFrom(NoRegularizer());
  any.set_value("\xff");
  EXPECT_EQ(CreateRegularizer(any, FormulaNetwork()).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace prunelab
