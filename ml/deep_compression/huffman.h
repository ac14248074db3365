// Canonical Huffman codes of bounded length, and streams of bits.
//
//   const HuffmanCode code = CodeFor({7, 1, 0, 2});  // lengths 1, 2, -, 2
//   BitWriter out;
//   WriteCode(code, out);
//   HuffmanEncoder(code).Write(/*symbol=*/3, out);
//   BitReader in(out.bytes());
//   PRUNELAB_ASSIGN_OR_RETURN(const HuffmanDecoder decoder, HuffmanDecoder::Read(/*symbols=*/4, in));
//   decoder.Next(in);  // 3
//
// A code's length is at most kLongestCode, so a symbol costs a decoder a bounded time, whatever the file says. Codes
// are canonical: the lengths alone are stored, and codes of one length follow each other in the order of their symbols.
// A symbol that is alone takes no bits at all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

constexpr int kLongestCode = 24;
// The most symbols that a code may be for.
constexpr uint32_t kMostSymbols = (1 << 16) + 1;

// Bits, the highest of a byte first.
class BitWriter {
 public:
  // The lowest `count` bits of `bits`, the highest of them first; at most 32.
  void Write(uint32_t bits, int count);
  uint64_t size() const { return size_; }
  // All of them; the last byte is filled up with zeros.
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  uint64_t size_ = 0;
};

// Reads them. What lies past the end reads as zeros, and that it was asked for is remembered.
class BitReader {
 public:
  explicit BitReader(absl::string_view bytes) : bytes_(bytes) {}
  uint32_t Bit();
  uint32_t Read(int count);  // at most 32
  bool past_end() const { return past_end_; }
  // Whether the last byte was reached, and what is left of it is zeros.
  bool at_end() const;

 private:
  absl::string_view bytes_;
  uint64_t at_ = 0;
  bool past_end_ = false;
};

struct HuffmanCode {
  std::vector<int> lengths;       // bits of each symbol; 0 for one that does not occur, or that is alone
  std::optional<uint32_t> alone;  // the only symbol that occurs
};

// An optimal code for symbols that occur `counts` times, none longer than `longest`: the package-merge algorithm
// (Larmore and Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", Journal of the ACM 37, 1990).
// Where the limit does not bind, symbols take as many bits together as by Huffman's own algorithm. At least one symbol
// must occur, and at most 2^longest (checked).
HuffmanCode CodeFor(const std::vector<uint64_t>& counts, int longest = kLongestCode);

// The bits that all symbols take together.
uint64_t CodedBits(const std::vector<uint64_t>& counts, const HuffmanCode& code);

// Appends the table of a code: one bit, whether a symbol is alone. If so, its number in 17 bits; else for each symbol
// in turn five bits, which are its length, or 30 and two bits r (the length before it for this symbol and the next 2 +
// r), or 31 and six bits r (no code for this symbol and the next 2 + r).
void WriteCode(const HuffmanCode& code, BitWriter& bits);

class HuffmanEncoder {
 public:
  explicit HuffmanEncoder(const HuffmanCode& code);
  void Write(uint32_t symbol, BitWriter& bits) const { bits.Write(codes_[symbol], lengths_[symbol]); }

 private:
  std::vector<int> lengths_;
  std::vector<uint32_t> codes_;
};

class HuffmanDecoder {
 public:
  // Reads a table for so many symbols. Errors, which begin with what the table lacks: a length above kLongestCode,
  // lengths that leave codes without a symbol or give one code twice, runs past the last symbol, a symbol that does not
  // exist, a table that ends early.
  static absl::StatusOr<HuffmanDecoder> Read(uint32_t symbols, BitReader& bits);

  // The next symbol; there is one for any bits.
  uint32_t Next(BitReader& bits) const;

 private:
  struct OfLength {
    uint32_t first_code = 0;  // of this length
    uint32_t first = 0;       // where its symbols begin in in_order_
    uint32_t number = 0;      // of symbols
  };
  std::vector<uint32_t> in_order_;  // the symbols that occur, by length and then by number
  std::vector<OfLength> of_length_;
};

}  // namespace prunelab
