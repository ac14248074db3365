#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ml/regularizers/group_lasso.pb.h"
#include "ml/regularizers/group_norms.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/expect_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(GroupLasso::Groups groups, bool square_root_of_size) {
  GroupLasso parameters;
  parameters.set_groups(groups);
  parameters.set_square_root_of_size(square_root_of_size);
  return *CreateRegularizer(parameters, FormulaNetwork());
}

TEST(GroupLassoTest, ByHand) {
  // Two filters of two input channels and a 1 x 2 kernel: ((3, 0), (0, 4)), and zeros. Filters: 5 + 0. Input channels:
  // 3 and 4. All groups have 4 weights, so their square root doubles it. Gradient: w / norm, and 0 for the zeros.
  const at::Tensor weight = at::tensor({3.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0}, at::kDouble).view({2, 2, 1, 2});
  const std::vector<RegularizedLayer> layers = {ConvLayer("a", weight)};
  const Penalty filters = Make(GroupLasso::FILTERS, false)->ValueAndGradients(layers);
  EXPECT_EQ(filters.value.item<double>(), 5);
  EXPECT_TRUE(at::equal(filters.gradients[0], weight / 5));
  EXPECT_EQ(Make(GroupLasso::FILTERS, true)->Value(layers).item<double>(), 10);
  const Penalty channels = Make(GroupLasso::INPUT_CHANNELS, true)->ValueAndGradients(layers);
  EXPECT_EQ(channels.value.item<double>(), 14);
  EXPECT_TRUE(at::equal(channels.gradients[0], 2 * weight.sign()));
  EXPECT_EQ(Make(GroupLasso::BOTH, false)->Value(layers).item<double>(), 12);
}

TEST(GroupLassoTest, AnInputChannelIsReadByItsGroupAlone) {
  // Two groups of one filter and one input channel each, norms 3 and 4: in a dense convolution one channel of norm 5.
  const at::Tensor weight = at::tensor({3.0, 4.0}, at::kDouble).view({2, 1, 1, 1});
  EXPECT_EQ(ChannelNormSum(ConvLayer("a", weight), 2).item<double>(), 7);
  EXPECT_EQ(ChannelNormSum(ConvLayer("a", weight), 1).item<double>(), 5);
}

TEST(GroupLassoTest, ValuesOfNumpyAndPyTorch) {
  ExpectReference(*Make(GroupLasso::FILTERS, false), reference::kGroupLassoFilters, false);
  ExpectReference(*Make(GroupLasso::FILTERS, false), reference::kGroupLassoFiltersMasked, true);
  ExpectReference(*Make(GroupLasso::INPUT_CHANNELS, true), reference::kGroupLassoChannelsSized, false);
  ExpectReference(*Make(GroupLasso::INPUT_CHANNELS, true), reference::kGroupLassoChannelsSizedMasked, true);
  ExpectReference(*Make(GroupLasso::BOTH, true), reference::kGroupLassoBothSized, false);
  ExpectReference(*Make(GroupLasso::BOTH, true), reference::kGroupLassoBothSizedMasked, true);
}

}  // namespace
}  // namespace prunelab
