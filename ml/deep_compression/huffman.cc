#include "ml/deep_compression/huffman.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ml/base/check.h"

namespace prunelab {
namespace {

constexpr int kAloneBits = 17, kLengthBits = 5, kRepeatBits = 2, kZerosBits = 6;
constexpr uint32_t kRepeat = 30, kZeros = 31;
constexpr uint32_t kShortestRun = 3;

// An item of one level of package-merge: a symbol, or a package of two items of the level below.
struct Item {
  uint64_t weight = 0;
  bool is_symbol = false;
};

// How many of the level's first items are taken, and how many of these are symbols.
uint64_t SymbolsAmong(const std::vector<Item>& level, size_t taken) {
  return static_cast<uint64_t>(std::count_if(level.begin(), level.begin() + static_cast<std::ptrdiff_t>(taken),
                                             [](const Item& item) { return item.is_symbol; }));
}

// The items of a level in the order of their weights: all symbols, and the packages of the level below. Symbols come
// before packages of the same weight, which keeps the longest code short.
std::vector<Item> LevelAbove(const std::vector<Item>& symbols, const std::vector<Item>& below) {
  std::vector<Item> packages;
  for (size_t i = 0; i + 1 < below.size(); i += 2) packages.push_back({below[i].weight + below[i + 1].weight, false});
  std::vector<Item> level;
  level.reserve(symbols.size() + packages.size());
  std::merge(symbols.begin(), symbols.end(), packages.begin(), packages.end(), std::back_inserter(level),
             [](const Item& a, const Item& b) { return a.weight < b.weight; });
  return level;
}

// The first code of each length, by the number of symbols of each length.
std::vector<uint32_t> FirstCodes(const std::vector<uint32_t>& numbers) {
  std::vector<uint32_t> first(numbers.size(), 0);
  for (size_t length = 1; length < numbers.size(); ++length) {
    first[length] = (first[length - 1] + (length > 1 ? numbers[length - 1] : 0)) << 1;
  }
  return first;
}

std::vector<uint32_t> NumbersByLength(const std::vector<int>& lengths) {
  std::vector<uint32_t> numbers(kLongestCode + 1, 0);
  for (const int length : lengths) {
    if (length > 0) ++numbers[static_cast<size_t>(length)];
  }
  return numbers;
}

// The number of elements from `begin` on that equal the first of them, at most `most`.
uint32_t RunLength(const std::vector<int>& lengths, size_t begin, uint32_t most) {
  uint32_t run = 1;
  while (run < most && begin + run < lengths.size() && lengths[begin + run] == lengths[begin]) ++run;
  return run;
}

// The lengths of a table that has more than one symbol.
absl::StatusOr<std::vector<int>> ReadLengths(uint32_t symbols, BitReader& bits) {
  std::vector<int> lengths;
  lengths.reserve(symbols);
  while (lengths.size() < symbols) {
    const uint32_t read = bits.Read(kLengthBits);
    if (read <= kLongestCode) {
      lengths.push_back(static_cast<int>(read));
      continue;
    }
    if (read != kRepeat && read != kZeros) {
      return absl::InvalidArgumentError(
          absl::StrCat("a code of ", read, " bits; at most ", kLongestCode, " are allowed"));
    }
    if (read == kRepeat && lengths.empty()) {
      return absl::InvalidArgumentError("a repeated length before the first one");
    }
    const uint32_t run = kShortestRun + bits.Read(read == kRepeat ? kRepeatBits : kZerosBits);
    if (run > symbols - lengths.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("lengths for ", lengths.size() + run, " symbols; there are ", symbols));
    }
    lengths.insert(lengths.end(), run, read == kRepeat ? lengths.back() : 0);
  }
  return lengths;
}

}  // namespace

void BitWriter::Write(uint32_t bits, int count) {
  for (int i = count - 1; i >= 0; --i, ++size_) {
    if (size_ % 8 == 0) bytes_.push_back('\0');
    if ((bits >> i & 1) != 0) bytes_.back() = static_cast<char>(bytes_.back() | 1 << (7 - size_ % 8));
  }
}

uint32_t BitReader::Bit() {
  if (at_ / 8 >= bytes_.size()) {
    past_end_ = true;
    return 0;
  }
  const uint32_t bit = static_cast<unsigned char>(bytes_[at_ / 8]) >> (7 - at_ % 8) & 1;
  ++at_;
  return bit;
}

uint32_t BitReader::Read(int count) {
  uint32_t bits = 0;
  for (int i = 0; i < count; ++i) bits = bits << 1 | Bit();
  return bits;
}

bool BitReader::at_end() const {
  if (past_end_ || (at_ + 7) / 8 != bytes_.size()) return false;
  return at_ % 8 == 0 || (static_cast<unsigned char>(bytes_.back()) & ((1U << (8 - at_ % 8)) - 1)) == 0;
}

HuffmanCode CodeFor(const std::vector<uint64_t>& counts, int longest) {
  PRUNELAB_CHECK(longest >= 1 && longest <= kLongestCode) << longest;
  PRUNELAB_CHECK(counts.size() <= kMostSymbols) << counts.size();
  std::vector<uint32_t> occurring;
  for (uint32_t symbol = 0; symbol < counts.size(); ++symbol) {
    if (counts[symbol] > 0) occurring.push_back(symbol);
  }
  PRUNELAB_CHECK(!occurring.empty() && occurring.size() <= uint64_t{1} << longest) << occurring.size();
  HuffmanCode code;
  code.lengths.assign(counts.size(), 0);
  if (occurring.size() == 1) {
    code.alone = occurring[0];
    return code;
  }
  std::stable_sort(occurring.begin(), occurring.end(), [&](uint32_t a, uint32_t b) { return counts[a] < counts[b]; });
  std::vector<Item> symbols;
  for (const uint32_t symbol : occurring) symbols.push_back({counts[symbol], true});
  std::vector<std::vector<Item>> levels = {symbols};
  while (levels.size() < static_cast<size_t>(longest)) levels.push_back(LevelAbove(symbols, levels.back()));
  // Of the top level the first 2n - 2 items are taken. Each time that a symbol is among the items taken of a level, its
  // code is one bit longer; each package takes two items of the level below.
  size_t taken = 2 * occurring.size() - 2;
  for (size_t level = levels.size(); level-- > 0 && taken > 0;) {
    const uint64_t lengthened = SymbolsAmong(levels[level], taken);
    for (uint64_t i = 0; i < lengthened; ++i) ++code.lengths[occurring[i]];
    taken = 2 * (taken - lengthened);
  }
  return code;
}

uint64_t CodedBits(const std::vector<uint64_t>& counts, const HuffmanCode& code) {
  uint64_t bits = 0;
  for (size_t symbol = 0; symbol < counts.size(); ++symbol) {
    bits += counts[symbol] * static_cast<uint64_t>(code.lengths[symbol]);
  }
  return bits;
}

void WriteCode(const HuffmanCode& code, BitWriter& bits) {
  bits.Write(code.alone ? 1 : 0, 1);
  if (code.alone) {
    bits.Write(*code.alone, kAloneBits);
    return;
  }
  const std::vector<int>& lengths = code.lengths;
  for (size_t i = 0; i < lengths.size();) {
    const bool zeros = lengths[i] == 0, repeats = !zeros && i > 0 && lengths[i] == lengths[i - 1];
    const uint32_t run = RunLength(lengths, i, kShortestRun + (1U << (zeros ? kZerosBits : kRepeatBits)) - 1);
    if ((zeros || repeats) && run >= kShortestRun) {
      bits.Write(zeros ? kZeros : kRepeat, kLengthBits);
      bits.Write(run - kShortestRun, zeros ? kZerosBits : kRepeatBits);
      i += run;
    } else {
      bits.Write(static_cast<uint32_t>(lengths[i]), kLengthBits);
      ++i;
    }
  }
}

HuffmanEncoder::HuffmanEncoder(const HuffmanCode& code) : lengths_(code.lengths), codes_(code.lengths.size(), 0) {
  std::vector<uint32_t> next = FirstCodes(NumbersByLength(lengths_));
  for (size_t symbol = 0; symbol < lengths_.size(); ++symbol) {
    if (lengths_[symbol] > 0) codes_[symbol] = next[static_cast<size_t>(lengths_[symbol])]++;
  }
}

absl::StatusOr<HuffmanDecoder> HuffmanDecoder::Read(uint32_t symbols, BitReader& bits) {
  PRUNELAB_CHECK(symbols <= kMostSymbols) << symbols;
  HuffmanDecoder decoder;
  if (bits.Bit() == 1) {
    const uint32_t alone = bits.Read(kAloneBits);
    if (bits.past_end()) return absl::InvalidArgumentError("an end within it");
    if (alone >= symbols) {
      return absl::InvalidArgumentError(absl::StrCat("symbol ", alone, " alone; there are ", symbols));
    }
    decoder.in_order_ = {alone};
    return decoder;
  }
  absl::StatusOr<std::vector<int>> lengths = ReadLengths(symbols, bits);
  if (!lengths.ok()) return lengths.status();
  if (bits.past_end()) return absl::InvalidArgumentError("an end within it");
  const std::vector<uint32_t> numbers = NumbersByLength(*lengths);
  // Codes of length l take 2^-l of all bit strings; together they must take all of them once.
  uint64_t taken = 0;
  for (int length = 1; length <= kLongestCode; ++length) {
    taken += uint64_t{numbers[static_cast<size_t>(length)]} << (kLongestCode - length);
  }
  if (taken != uint64_t{1} << kLongestCode) {
    return absl::InvalidArgumentError(
        absl::StrCat("lengths that are no complete code: they take ", taken, " of ", 1 << kLongestCode, " parts"));
  }
  const std::vector<uint32_t> first_codes = FirstCodes(numbers);
  decoder.of_length_.resize(kLongestCode + 1);
  for (int length = 1; length <= kLongestCode; ++length) {
    const auto at = static_cast<size_t>(length);
    decoder.of_length_[at] = {first_codes[at], static_cast<uint32_t>(decoder.in_order_.size()), numbers[at]};
    if (numbers[at] == 0) continue;
    for (uint32_t symbol = 0; symbol < symbols; ++symbol) {
      if ((*lengths)[symbol] == length) decoder.in_order_.push_back(symbol);
    }
  }
  return decoder;
}

uint32_t HuffmanDecoder::Next(BitReader& bits) const {
  uint32_t code = 0;
  for (size_t length = 1; length < of_length_.size(); ++length) {
    code = code << 1 | bits.Bit();
    const OfLength& here = of_length_[length];
    if (code - here.first_code < here.number) return in_order_[here.first + code - here.first_code];
  }
  // Reached for a symbol that is alone only: a complete code has ended before.
  return in_order_[0];
}

}  // namespace prunelab
