// How the weights of one layer become bytes (Han, Mao and Dally, ICLR 2016, sections 2 and 4): the place of each weight
// that is not zero as its distance from the one before, its value as an index into a codebook, and both by Huffman
// codes.
//
// The bytes of a layer:
//
//   number      entries: weights that are not zero, and fillers. If there are none, nothing follows.
//   number      clusters: values of the codebook, 1 to 2^16
//   1 byte      gap bits g, 1 to 16
//   4 bytes     for each value of the codebook: float32, ascending, not zero
//   bits        the table of the code of indices, for `clusters` + 1 symbols (huffman.h)
//               the table of the code of gaps, for 2^g symbols
//               for each entry the code of its gap and then the code of its index
//
// A gap s says that the entry's place, in the order of the elements, is s + 1 after that of the entry before it (before
// the first: -1). Index `clusters` is a filler: where the distance is more than the 2^g that a gap can say, entries of
// value zero and the greatest gap bridge it (figure 2 of the paper). The last byte is filled up with zero bits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

constexpr int kMostGapBits = 16;
constexpr int64_t kMostClusters = int64_t{1} << 16;

struct CodedLayer {
  std::string bytes;
  int64_t weights = 0;     // elements of the tensor
  int64_t nonzero = 0;     // weights that are not zero
  int64_t fillers = 0;     // entries besides
  int64_t clusters = 0;    // different values
  int gap_bits = 0;        // 0 if there are no entries
  int64_t gaps_bits = 0;   // what the codes of all gaps take, without the table
  int64_t index_bits = 0;  // what the codes of all indices take, likewise
};

// `values`: float32, contiguous, finite, with at most kMostClusters different values that are not zero (checked). Zeros
// of both signs are not coded. Without `gap_bits` (1 to kMostGapBits) the number that gives the fewest bits is taken,
// and of equal ones the smallest.
CodedLayer EncodeLayer(const at::Tensor& values, std::optional<int> gap_bits);

// The tensor of that shape, float32, bit for bit, except that every zero is +0.0. The caller has checked how much
// memory the shape takes. Errors say what is wrong with the bytes, as the end of a sentence: they end early or late, a
// place lies behind the last weight, the codebook is empty, too large, not ascending, not finite or holds a zero.
absl::StatusOr<at::Tensor> DecodeLayer(absl::string_view bytes, const std::vector<int64_t>& shape);

}  // namespace prunelab
