#include "ml/regularizers/conv_selection.h"

#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"
#include "ml/base/field_error.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

NetworkInfo ThreeConvs() {
  NetworkWriter net;
  net.Image(3, 32, 32);
  net.Conv("stem", "image", {2});
  net.Conv("block.conv", "stem", {2});
  net.Conv("block.down", "block.conv", {2, 1});
  net.GlobalAveragePool("pool", "block.down");
  net.Flatten("flat", "pool");
  return *NetworkInfo::Create(net.Take());
}

absl::StatusOr<std::set<std::string>> Select(const std::string& text) {
  LayerSelection layers;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &layers));
  return SelectConvs(
      layers, ThreeConvs(), [](const ConvInfo& conv) { return conv.kernel_height > 1; }, "a kernel larger than 1x1");
}

TEST(ConvSelectionTest, IncludesAndExcludesAmongTheEligible) {
  EXPECT_EQ(*Select(""), (std::set<std::string>{"block.conv", "stem"}));
  EXPECT_EQ(*Select("include: 'block*'"), (std::set<std::string>{"block.conv"}));
  EXPECT_EQ(*Select("exclude: 'block*'"), (std::set<std::string>{"stem"}));
  EXPECT_EQ(*Select("include: '*' exclude: 'none, stem'"), (std::set<std::string>{"block.conv"}));
}

TEST(ConvSelectionTest, AnEmptyChoiceIsAnErrorThatSaysWhatThereIs) {
  const auto selected = Select("include: 'block.down'");
  ASSERT_FALSE(selected.ok());
  EXPECT_EQ(ErrorField(selected.status()), "layers");
  EXPECT_NE(ErrorText(selected.status()).find("there are stem, block.conv"), std::string::npos) << selected.status();
}

TEST(ConvSelectionTest, ANetworkWithoutEligibleConvolutions) {
  const auto selected = SelectConvs(
      {}, ThreeConvs(), [](const ConvInfo&) { return false; }, "a kernel of 9x9");
  ASSERT_FALSE(selected.ok());
  EXPECT_NE(ErrorText(selected.status()).find("no convolution with a kernel of 9x9"), std::string::npos);
}

}  // namespace
}  // namespace prunelab
