#include "ml/deep_compression/huffman.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "ml/base/random.h"
#include "ml/deep_compression/reference_values.h"

namespace prunelab {
namespace {

std::vector<uint64_t> RandomCounts(size_t symbols, uint64_t seed) {
  RandomStream stream(seed, "counts");
  std::vector<uint64_t> counts;
  for (size_t i = 0; i < symbols; ++i)
    counts.push_back(stream.Below(3) == 0 ? 0 : stream.Below(uint64_t{1} << stream.Below(20)));
  counts[0] = 1;
  counts.back() = 1;
  return counts;
}

// The symbols, coded with the code's own table before them.
std::string Coded(const HuffmanCode& code, const std::vector<uint32_t>& symbols) {
  BitWriter bits;
  WriteCode(code, bits);
  const HuffmanEncoder encoder(code);
  for (const uint32_t symbol : symbols) encoder.Write(symbol, bits);
  return bits.bytes();
}

TEST(HuffmanTest, SizesOfHuffmansAlgorithmAndOfExhaustion) {
  for (const HuffmanValues& wanted : HuffmanReference()) {
    const HuffmanCode code = wanted.longest == 0 ? CodeFor(wanted.counts) : CodeFor(wanted.counts, wanted.longest);
    EXPECT_EQ(CodedBits(wanted.counts, code), wanted.bits) << wanted.counts.size() << " " << wanted.longest;
    if (wanted.longest == 0) continue;
    EXPECT_LE(*std::max_element(code.lengths.begin(), code.lengths.end()), wanted.longest);
  }
}

// Fibonacci numbers make the deepest trees: 40 symbols would take 39 bits.
TEST(HuffmanTest, TheLimitHolds) {
  std::vector<uint64_t> counts = {1, 1};
  while (counts.size() < 40) counts.push_back(counts.back() + counts[counts.size() - 2]);
  const HuffmanCode code = CodeFor(counts);
  EXPECT_EQ(*std::max_element(code.lengths.begin(), code.lengths.end()), kLongestCode);
  double taken = 0;
  for (const int length : code.lengths) taken += std::ldexp(1.0, -length);
  EXPECT_EQ(taken, 1);
  std::vector<uint32_t> symbols(40);
  for (uint32_t i = 0; i < 40; ++i) symbols[i] = 39 - i;
  const std::string bytes = Coded(code, symbols);
  BitReader in(bytes);
  const absl::StatusOr<HuffmanDecoder> decoder = HuffmanDecoder::Read(40, in);
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  for (const uint32_t symbol : symbols) EXPECT_EQ(decoder->Next(in), symbol);
  EXPECT_TRUE(in.at_end());
}

// Canonical codes by hand (RFC 1951, section 3.2.2): lengths 3, 3, 3, 3, 3, 2, 4, 4 give 010, 011, 100, 101, 110, 00,
// 1110, 1111. The table is 0, then 00011, a run of 3 + 1 more of that length, 00010, 00100, 00100.
TEST(HuffmanTest, CanonicalCodesByHand) {
  HuffmanCode code;
  code.lengths = {3, 3, 3, 3, 3, 2, 4, 4};
  BitWriter bits;
  WriteCode(code, bits);
  const HuffmanEncoder encoder(code);
  for (const uint32_t symbol : {5U, 0U, 4U, 6U, 7U}) encoder.Write(symbol, bits);
  std::string text;
  for (const char byte : bits.bytes()) {
    for (int i = 7; i >= 0; --i) text.push_back((byte >> i & 1) != 0 ? '1' : '0');
  }
  EXPECT_EQ(text.substr(0, bits.size()),
            "0"
            "00011"
            "11110"
            "01"
            "00010"
            "00100"
            "00100"
            "00"
            "010"
            "110"
            "1110"
            "1111");
  EXPECT_EQ(text.size() % 8, 0u);
}

TEST(HuffmanTest, WhatIsWrittenIsReadAgain) {
  for (const size_t number : {2, 3, 33, 300, 4097, 65537}) {
    const std::vector<uint64_t> counts = RandomCounts(number, number);
    const HuffmanCode code = CodeFor(counts);
    RandomStream stream(number, "symbols");
    std::vector<uint32_t> symbols;
    while (symbols.size() < 2000) {
      const auto symbol = static_cast<uint32_t>(stream.Below(number));
      if (counts[symbol] > 0) symbols.push_back(symbol);
    }
    const std::string bytes = Coded(code, symbols);
    BitReader reader(bytes);
    const absl::StatusOr<HuffmanDecoder> decoder = HuffmanDecoder::Read(static_cast<uint32_t>(number), reader);
    ASSERT_TRUE(decoder.ok()) << decoder.status();
    for (const uint32_t symbol : symbols) ASSERT_EQ(decoder->Next(reader), symbol);
    EXPECT_TRUE(reader.at_end());
    for (int i = 0; i < 9; ++i) reader.Bit();
    EXPECT_TRUE(reader.past_end());
  }
}

TEST(HuffmanTest, ASymbolAloneTakesNoBits) {
  const HuffmanCode code = CodeFor({0, 0, 9});
  EXPECT_EQ(code.alone, 2u);
  const std::string bytes = Coded(code, std::vector<uint32_t>(1000, 2));
  EXPECT_EQ(bytes.size(), 3u);  // one bit and 17
  BitReader reader(bytes);
  const absl::StatusOr<HuffmanDecoder> decoder = HuffmanDecoder::Read(3, reader);
  ASSERT_TRUE(decoder.ok());
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(decoder->Next(reader), 2u);
  EXPECT_TRUE(reader.at_end());
}

// The error of a table of these bits.
std::string ErrorOf(uint32_t symbols, const std::function<void(BitWriter&)>& write) {
  BitWriter bits;
  write(bits);
  BitReader reader(bits.bytes());
  return std::string(HuffmanDecoder::Read(symbols, reader).status().message());
}

TEST(HuffmanTest, RefusesTablesThatAreNone) {
  const auto lengths = [](const std::vector<uint32_t>& values) {
    return [values](BitWriter& bits) {
      bits.Write(0, 1);
      for (const uint32_t value : values) bits.Write(value, 5);
    };
  };
  EXPECT_EQ(ErrorOf(2, lengths({1, 1})), "");
  EXPECT_EQ(ErrorOf(3, lengths({1, 1, 1})), "lengths that are no complete code: they take 25165824 of 16777216 parts");
  EXPECT_EQ(ErrorOf(2, lengths({1, 2})), "lengths that are no complete code: they take 12582912 of 16777216 parts");
  EXPECT_EQ(ErrorOf(2, lengths({0, 0})), "lengths that are no complete code: they take 0 of 16777216 parts");
  EXPECT_EQ(ErrorOf(2, lengths({25, 1})), "a code of 25 bits; at most 24 are allowed");
  EXPECT_EQ(ErrorOf(2, lengths({30})), "a repeated length before the first one");
  EXPECT_EQ(ErrorOf(40, lengths({1})), "an end within it");
  EXPECT_EQ(ErrorOf(4, [](BitWriter& bits) { bits.Write(0b0'00001'11110'11, 13); }),
            "lengths for 7 symbols; there are 4");
  EXPECT_EQ(ErrorOf(4, [](BitWriter& bits) { bits.Write(0b0'11111'000010, 12); }),
            "lengths for 5 symbols; there are 4");
  EXPECT_EQ(ErrorOf(4, [](BitWriter& bits) { bits.Write(1 << 17 | 4, 18); }), "symbol 4 alone; there are 4");
  EXPECT_EQ(ErrorOf(4, [](BitWriter& bits) { bits.Write(1, 1); }), "an end within it");
}

TEST(BitReaderTest, WhatIsLeftOfTheLastByteMustBeZero) {
  BitReader reader(absl::string_view("\xA0\x10", 2));
  EXPECT_EQ(reader.Read(3), 0b101u);
  EXPECT_FALSE(reader.at_end());
  EXPECT_EQ(reader.Read(9), 1u);
  EXPECT_TRUE(reader.at_end());
  BitReader other(absl::string_view("\xA0\x10", 2));
  other.Read(10);
  EXPECT_FALSE(other.at_end());  // the last one is still to come
}

}  // namespace
}  // namespace prunelab
