#include "ml/deep_compression/layer_coding.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/random.h"
#include "ml/deep_compression/weight_sharing.h"

namespace prunelab {
namespace {

// Of `count` weights one in `sparsity` is not zero and has one of `values` values.
at::Tensor RandomLayer(const std::vector<int64_t>& shape, uint64_t sparsity, int64_t values, uint64_t seed) {
  RandomStream stream(seed, "layer");
  at::Tensor layer = at::zeros(shape);
  for (int64_t i = 0; i < layer.numel(); ++i) {
    if (stream.Below(sparsity) != 0) continue;
    const auto value = static_cast<int64_t>(stream.Below(static_cast<uint64_t>(values)));
    layer.data_ptr<float>()[i] = static_cast<float>(value - values / 2) + 0.25F;
  }
  return layer;
}

bool SameBits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && at::equal(a.view(at::kInt), b.view(at::kInt));
}

void ExpectRoundTrip(const at::Tensor& layer, std::optional<int> gap_bits, const std::string& what) {
  const CodedLayer coded = EncodeLayer(layer, gap_bits);
  EXPECT_EQ(coded.weights, layer.numel()) << what;
  EXPECT_EQ(coded.nonzero, (layer != 0).sum().item<int64_t>()) << what;
  const absl::StatusOr<at::Tensor> decoded = DecodeLayer(coded.bytes, layer.sizes().vec());
  ASSERT_TRUE(decoded.ok()) << what << ": " << decoded.status();
  EXPECT_TRUE(SameBits(*decoded, layer)) << what;
}

// Figure 2 of the paper: weights at 1, 4 and 15 of 16, and gaps of three bits. Weight 15 is 11 after weight 4, more
// than the 8 that a gap can say, so a filler at 12 comes before it.
TEST(LayerCodingTest, TheFigureByHand) {
  at::Tensor layer = at::zeros({16});
  layer[1] = 3.5F;
  layer[4] = 1.F;
  layer[15] = 3.5F;
  const CodedLayer coded = EncodeLayer(layer, 3);
  EXPECT_EQ(coded.nonzero, 3);
  EXPECT_EQ(coded.fillers, 1);
  EXPECT_EQ(coded.clusters, 2);
  // Indices 1, 0, filler 2, 1: codes of 2, 1, 2 bits for 0, 1, 2. Gaps 1, 2, 7, 2: codes of 2 bits for 1, 1 for 2, 2
  // for
  // 7. Canonical: index 1 is 0, 0 is 10, 2 is 11; gap 2 is 0, 1 is 10, 7 is 11.
  EXPECT_EQ(coded.index_bits, 6);
  EXPECT_EQ(coded.gaps_bits, 6);
  const std::string bits =
      "0"
      "00010"
      "00001"
      "00010"  // table of the indices
      "0"
      "00000"
      "00010"
      "00001"
      "11111"
      "000001"
      "00010"  // table of the gaps: 3 + 1 lengths of 0
      "10"
      "0"
      "0"
      "10"
      "11"
      "11"
      "0"
      "0";  // gap and index of each entry
  std::string bytes("\x04\x02\x03\0\0\x80\x3F\0\0\x60\x40", 11);
  for (size_t i = 0; i < bits.size(); i += 8) {
    const std::string byte = bits.substr(i, 8) + std::string(8 - std::min<size_t>(8, bits.size() - i), '0');
    bytes.push_back(static_cast<char>(std::stoi(byte, nullptr, 2)));
  }
  EXPECT_EQ(coded.bytes, bytes);
  ExpectRoundTrip(layer, 3, "figure 2");
}

TEST(LayerCodingTest, RandomLayers) {
  int layers = 0;
  for (const uint64_t sparsity : {1, 2, 13, 400}) {
    for (const int64_t values : {1, 2, 31, 256, 5000}) {
      for (const std::vector<int64_t>& shape :
           std::vector<std::vector<int64_t>>{{1}, {7, 3}, {16, 8, 3, 3}, {300, 64, 1, 1}, {2, 0, 5}}) {
        const at::Tensor layer = RandomLayer(shape, sparsity, values, static_cast<uint64_t>(++layers));
        for (const int gap_bits : {0, 1, 3, 5, 16}) {
          ExpectRoundTrip(layer, gap_bits == 0 ? std::nullopt : std::optional<int>(gap_bits),
                          absl::StrCat("sparsity ", sparsity, ", values ", values, ", gap bits ", gap_bits));
        }
      }
    }
  }
  EXPECT_EQ(layers, 100);
}

TEST(LayerCodingTest, Extremes) {
  ExpectRoundTrip(at::zeros({1 << 20}), {}, "all zero");
  EXPECT_EQ(EncodeLayer(at::zeros({1 << 20}), {}).bytes.size(), 1u);
  at::Tensor one = at::zeros({1 << 20});
  one[(1 << 20) - 1] = -7.F;
  ExpectRoundTrip(one, {}, "the last of a million");
  EXPECT_LT(EncodeLayer(one, {}).bytes.size(), 30u);
  ExpectRoundTrip(one, 1, "the last of a million after half a million fillers");
  ExpectRoundTrip(at::full({1 << 20}, 2.5F), {}, "a million times the same");
  EXPECT_LT(EncodeLayer(at::full({1 << 20}, 2.5F), {}).bytes.size(), 20u);
  ExpectRoundTrip(at::arange(1, 65537, at::kFloat), {}, "as many values as there may be");
  const float denormal = std::ldexp(1.F, -149), largest = 3.4028235e38F;
  ExpectRoundTrip(at::tensor({denormal, -denormal, 0.F, largest, -largest}), {}, "extreme values");
  RandomStream stream(1, "normal");
  at::Tensor normal = at::zeros({1 << 20});
  for (int64_t i = 0; i < normal.numel(); ++i) normal.data_ptr<float>()[i] = static_cast<float>(stream.Normal());
  ExpectRoundTrip(ValuesOf(ShareWeights(normal.where(normal.abs() > 1.5, at::zeros({})), 32)), {}, "2^20 shared");
}

TEST(LayerCodingTest, ZerosOfBothSignsAreNotCoded) {
  const absl::StatusOr<at::Tensor> decoded = DecodeLayer(EncodeLayer(at::tensor({-0.F, 1.F, 0.F}), {}).bytes, {3});
  ASSERT_TRUE(decoded.ok());
  EXPECT_TRUE(SameBits(*decoded, at::tensor({0.F, 1.F, 0.F})));
}

// No other number of gap bits gives fewer bytes, and sparser layers have wider gaps.
TEST(LayerCodingTest, ChoosesTheBestGapBits) {
  for (const uint64_t sparsity : {2, 20, 300}) {
    const at::Tensor layer = RandomLayer({20000}, sparsity, 32, sparsity);
    const CodedLayer chosen = EncodeLayer(layer, {});
    size_t least = ~size_t{0};
    for (int bits = 1; bits <= kMostGapBits; ++bits) least = std::min(least, EncodeLayer(layer, bits).bytes.size());
    EXPECT_EQ(chosen.bytes.size(), least) << sparsity;
    EXPECT_GE(chosen.gap_bits, std::log2(static_cast<double>(sparsity)) - 2) << sparsity;
  }
}

// The entropy is the least that a code of symbols can take, and Huffman's is within a bit of it.
TEST(LayerCodingTest, IsNearTheEntropy) {
  const at::Tensor layer = RandomLayer({100000}, 10, 20, 3);
  const CodedLayer coded = EncodeLayer(layer, {});
  std::vector<double> counts(20, 0);
  for (int64_t i = 0; i < layer.numel(); ++i) {
    const float value = layer.data_ptr<float>()[i];
    if (value != 0) counts[static_cast<size_t>(value + 9.75F)] += 1;
  }
  double entropy = 0;
  for (const double count : counts) entropy -= count * std::log2(count / static_cast<double>(coded.nonzero));
  EXPECT_GE(static_cast<double>(coded.index_bits), entropy);
  EXPECT_LE(static_cast<double>(coded.index_bits), entropy + 0.1 * static_cast<double>(coded.nonzero));
}

TEST(LayerCodingTest, RefusesWhatIsNoLayer) {
  const at::Tensor layer = RandomLayer({200}, 3, 5, 8);
  const std::string bytes = EncodeLayer(layer, 2).bytes;
  const auto error = [](const std::string& broken, const std::vector<int64_t>& shape) {
    return std::string(DecodeLayer(broken, shape).status().message());
  };
  EXPECT_EQ(error(bytes, {200}), "");
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(DecodeLayer(bytes.substr(0, length), {200}).ok()) << length;
  }
  EXPECT_EQ(error("", {200}), "it ends within the number of its entries");
  EXPECT_EQ(error("\x05", {4}), "it has 5 entries; its shape has 4 weights");
  EXPECT_EQ(error(std::string("\0x", 2), {4}), "1 bytes follow its last entry");
  EXPECT_EQ(error("\x01", {4}), "it ends before its codebook");
  EXPECT_EQ(error(std::string("\x01\0\x01", 3), {4}), "its codebook has 0 values; must have 1 to 65536");
  EXPECT_EQ(error("\x01\x81\x80\x04\x01", {4}), "its codebook has 65537 values; must have 1 to 65536");
  EXPECT_EQ(error("\x01\x01\x11", {4}), "its gaps have 17 bits; must have 1 to 16");
  EXPECT_EQ(error("\x01\x02\x01"
                  "abcdefg",
                  {4}),
            "it ends within its codebook");
  EXPECT_EQ(error(std::string("\x01\x01\x01\0\0\0\0", 7), {4}),
            "value 0 of its codebook is 0; must be finite and not zero");
  EXPECT_EQ(error(std::string("\x01\x01\x01\0\0\x80\x7F", 7), {4}),
            "value 0 of its codebook is inf; must be finite and not zero");
  EXPECT_EQ(error(std::string("\x01\x02\x01\0\0\x80\x3F\0\0\x80\x3F", 11), {4}),
            "value 1 of its codebook, 1, is not above the one before it, 1");
  const std::string one_value("\x01\x01\x01\0\0\x80\x3F", 7);
  EXPECT_EQ(error(one_value, {4}), "the table of its code of indices has an end within it");
  // A table of the symbol 0 alone is 1 and 17 zeros; two of them are 36 bits.
  const std::string tables("\x80\0\x20\0\0", 5), filler("\x80\0\x60\0\0", 5);
  EXPECT_EQ(error(one_value + tables, {4}), "");
  EXPECT_EQ(error("\x03" + one_value.substr(1) + tables, {2}), "it has 3 entries; its shape has 2 weights");
  EXPECT_EQ(error(one_value + filler, {4}), "its last entry is a filler, which nothing follows");
  EXPECT_EQ(error(one_value + tables + "x", {4}), "more bits follow its last entry");
  EXPECT_EQ(error(one_value + std::string("\x80\0\x20\0\1", 5), {4}), "more bits follow its last entry");
  // Gap 1 alone: each entry is two after the last.
  EXPECT_EQ(error("\x03" + one_value.substr(1) + std::string("\x80\0\x20\0\x10", 5), {4}),
            "entry 2 is weight 5; its shape has 4");
}

}  // namespace
}  // namespace prunelab
