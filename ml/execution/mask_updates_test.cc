#include "ml/execution/mask_updates.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"

namespace prunelab {
namespace {

constexpr char kNetwork[] = R"pb(
  node {
    name: "image"
    image { channels: 1 height: 2 width: 2 }
  }
  node {
    name: "conv"
    input: "image"
    conv2d { out_channels: 4 kernel_height: 1 kernel_width: 1 bias: true }
  }
  node {
    name: "flat"
    input: "conv"
    flatten {}
  }
)pb";

at::Tensor Filters(const std::vector<double>& values) { return at::tensor(values, at::kDouble).view({4, 1, 1, 1}); }

// A model whose weights and momentum are 1, 2, 3 and 4, and whose filter 0 is off.
class MaskUpdateTest : public testing::Test {
 protected:
  MaskUpdateTest() {
    weight().copy_(Filters({1, 2, 3, 4}));
    model_.SetMasks({{"conv", Filters({0, 1, 1, 1})}});
  }

  static Model MakeModel() {
    Network network;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kNetwork, &network));
    return Model::Create(*NetworkInfo::Create(network), at::kDouble, at::kCPU);
  }

  at::Tensor weight() const { return model_.Get("conv.weight").detach(); }
  at::Tensor mask() const { return model_.masks().at("conv"); }

  // Filter 0 comes back and filter 3 goes.
  static MaskUpdate Update(MaskUpdate::Weights weights, MaskUpdate::Momentum momentum) {
    MaskUpdate update;
    update.masks["conv"] = Filters({1, 1, 1, 0});
    update.weights = weights;
    update.momentum = momentum;
    return update;
  }

  void Apply(const MaskUpdate& update, const StartMasks& start = {}) {
    ApplyMaskUpdate(update, start, model_, {momentum_, second_});
  }

  Model model_ = MakeModel();
  std::vector<at::Tensor> momentum_ = {Filters({1, 2, 3, 4}), at::ones({4}, at::kDouble)};
  std::vector<at::Tensor> second_ = {Filters({5, 6, 7, 8}), at::ones({4}, at::kDouble)};
};

TEST_F(MaskUpdateTest, MasksChangeAndAllElseStays) {
  Apply(Update(MaskUpdate::Weights::kKeep, MaskUpdate::Momentum::kKeep));
  EXPECT_TRUE(at::equal(mask(), Filters({1, 1, 1, 0})));
  EXPECT_TRUE(at::equal(weight(), Filters({1, 2, 3, 4})));
  EXPECT_TRUE(at::equal(momentum_[0], Filters({1, 2, 3, 4})));
}

TEST_F(MaskUpdateTest, WhatIsMaskedBecomesZero) {
  Apply(Update(MaskUpdate::Weights::kZeroMasked, MaskUpdate::Momentum::kZeroMasked));
  EXPECT_TRUE(at::equal(weight(), Filters({1, 2, 3, 0})));
  EXPECT_TRUE(at::equal(momentum_[0], Filters({1, 2, 3, 0})));
  EXPECT_TRUE(at::equal(second_[0], Filters({5, 6, 7, 0})));
  EXPECT_TRUE(at::equal(momentum_[1], at::ones({4}, at::kDouble))) << "the bias is not masked";
}

TEST_F(MaskUpdateTest, WhatGrowsBecomesZero) {
  Apply(Update(MaskUpdate::Weights::kZeroGrown, MaskUpdate::Momentum::kZeroGrown));
  EXPECT_TRUE(at::equal(weight(), Filters({0, 2, 3, 4})));
  EXPECT_TRUE(at::equal(momentum_[0], Filters({0, 2, 3, 4})));
  EXPECT_TRUE(at::equal(second_[0], Filters({0, 6, 7, 8})));
}

TEST_F(MaskUpdateTest, NothingGrowsWhereNothingWasMasked) {
  model_ = MakeModel();
  weight().copy_(Filters({1, 2, 3, 4}));
  Apply(Update(MaskUpdate::Weights::kZeroGrown, MaskUpdate::Momentum::kKeep));
  EXPECT_TRUE(at::equal(weight(), Filters({1, 2, 3, 4})));
}

TEST_F(MaskUpdateTest, WhatCameInMaskedStaysMaskedAndZero) {
  const StartMasks start(model_);
  EXPECT_TRUE(at::equal(weight(), Filters({0, 2, 3, 4})));
  MaskUpdate update = Update(MaskUpdate::Weights::kKeep, MaskUpdate::Momentum::kKeep);
  update.new_weights["conv.weight"] = Filters({5, 6, 7, 8});
  Apply(update, start);
  EXPECT_TRUE(at::equal(mask(), Filters({0, 1, 1, 0})));
  EXPECT_TRUE(at::equal(weight(), Filters({0, 6, 7, 8})));
}

}  // namespace
}  // namespace prunelab
