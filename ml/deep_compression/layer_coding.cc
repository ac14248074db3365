#include "ml/deep_compression/layer_coding.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/status_macros.h"
#include "ml/deep_compression/byte_stream.h"
#include "ml/deep_compression/huffman.h"

namespace prunelab {
namespace {

// The weights that are not zero, as what is coded of them.
struct Sparse {
  std::vector<float> codebook;      // ascending
  std::vector<uint32_t> indices;    // into it
  std::vector<uint64_t> distances;  // from the weight before that is not zero, minus one
};

Sparse SparseOf(const at::Tensor& values) {
  const float* const value = values.data_ptr<float>();
  Sparse sparse;
  int64_t before = -1;
  std::vector<float> nonzero;
  for (int64_t i = 0; i < values.numel(); ++i) {
    if (value[i] == 0) continue;
    PRUNELAB_CHECK(std::isfinite(value[i])) << "element " << i << " is " << value[i];
    nonzero.push_back(value[i]);
    sparse.distances.push_back(static_cast<uint64_t>(i - before - 1));
    before = i;
  }
  sparse.codebook = nonzero;
  std::sort(sparse.codebook.begin(), sparse.codebook.end());
  sparse.codebook.erase(std::unique(sparse.codebook.begin(), sparse.codebook.end()), sparse.codebook.end());
  PRUNELAB_CHECK(sparse.codebook.size() <= static_cast<size_t>(kMostClusters)) << sparse.codebook.size();
  for (const float weight : nonzero) {
    const auto found = std::lower_bound(sparse.codebook.begin(), sparse.codebook.end(), weight);
    sparse.indices.push_back(static_cast<uint32_t>(found - sparse.codebook.begin()));
  }
  return sparse;
}

// The codes for one number of gap bits.
struct Codes {
  int gap_bits = 0;
  uint64_t fillers = 0;
  HuffmanCode indices, gaps;
  uint64_t index_bits = 0, gaps_bits = 0;  // of all entries
  uint64_t bits = 0;                       // with both tables
};

Codes CodesFor(const Sparse& sparse, const std::vector<uint64_t>& index_counts, int gap_bits) {
  Codes codes;
  codes.gap_bits = gap_bits;
  const uint64_t greatest = (uint64_t{1} << gap_bits) - 1;
  std::vector<uint64_t> gap_counts(greatest + 1, 0), with_fillers = index_counts;
  for (const uint64_t distance : sparse.distances) {
    codes.fillers += distance >> gap_bits;
    ++gap_counts[distance & greatest];
  }
  gap_counts[greatest] += codes.fillers;
  with_fillers.push_back(codes.fillers);
  codes.indices = CodeFor(with_fillers);
  codes.gaps = CodeFor(gap_counts);
  codes.index_bits = CodedBits(with_fillers, codes.indices);
  codes.gaps_bits = CodedBits(gap_counts, codes.gaps);
  BitWriter tables;
  WriteCode(codes.indices, tables);
  WriteCode(codes.gaps, tables);
  codes.bits = tables.size() + codes.index_bits + codes.gaps_bits;
  return codes;
}

Codes BestCodes(const Sparse& sparse, std::optional<int> gap_bits) {
  std::vector<uint64_t> index_counts(sparse.codebook.size(), 0);
  for (const uint32_t index : sparse.indices) ++index_counts[index];
  if (gap_bits) return CodesFor(sparse, index_counts, *gap_bits);
  const uint64_t farthest = *std::max_element(sparse.distances.begin(), sparse.distances.end());
  Codes best = CodesFor(sparse, index_counts, 1);
  // With enough bits for the farthest one there are no fillers, and more bits change nothing but the table.
  for (int bits = 2; bits <= kMostGapBits && farthest >> (bits - 1) > 0; ++bits) {
    Codes codes = CodesFor(sparse, index_counts, bits);
    if (codes.bits < best.bits) best = std::move(codes);
  }
  return best;
}

uint32_t BitsOf(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(what); }

absl::StatusOr<std::vector<float>> ReadCodebook(uint64_t clusters, ByteReader& bytes) {
  std::vector<float> codebook;
  codebook.reserve(clusters);
  for (uint64_t k = 0; k < clusters; ++k) {
    const auto bits = static_cast<uint32_t>(bytes.Fixed(sizeof(float)));
    float value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value) || value == 0) {
      return Wrong(absl::StrCat("value ", k, " of its codebook is ", value, "; must be finite and not zero"));
    }
    if (k > 0 && !(value > codebook.back())) {
      return Wrong(absl::StrCat("value ", k, " of its codebook, ", value, ", is not above the one before it, ",
                                codebook.back()));
    }
    codebook.push_back(value);
  }
  return codebook;
}

absl::StatusOr<HuffmanDecoder> ReadCode(absl::string_view which, uint32_t symbols, BitReader& bits) {
  absl::StatusOr<HuffmanDecoder> decoder = HuffmanDecoder::Read(symbols, bits);
  if (decoder.ok()) return decoder;
  return Wrong(absl::StrCat("the table of its code of ", which, " has ", decoder.status().message()));
}

}  // namespace

CodedLayer EncodeLayer(const at::Tensor& values, std::optional<int> gap_bits) {
  PRUNELAB_CHECK(values.scalar_type() == at::kFloat && values.is_contiguous()) << values.scalar_type();
  PRUNELAB_CHECK(!gap_bits || (*gap_bits >= 1 && *gap_bits <= kMostGapBits)) << *gap_bits;
  const Sparse sparse = SparseOf(values);
  CodedLayer layer;
  layer.weights = values.numel();
  layer.nonzero = static_cast<int64_t>(sparse.indices.size());
  layer.clusters = static_cast<int64_t>(sparse.codebook.size());
  ByteWriter out;
  if (layer.nonzero == 0) {
    out.Number(0);
    layer.bytes = out.bytes();
    return layer;
  }
  const Codes codes = BestCodes(sparse, gap_bits);
  layer.fillers = static_cast<int64_t>(codes.fillers);
  layer.gap_bits = codes.gap_bits;
  layer.gaps_bits = static_cast<int64_t>(codes.gaps_bits);
  layer.index_bits = static_cast<int64_t>(codes.index_bits);
  out.Number(sparse.indices.size() + codes.fillers);
  out.Number(sparse.codebook.size());
  out.Fixed(static_cast<uint64_t>(codes.gap_bits), 1);
  for (const float value : sparse.codebook) out.Fixed(BitsOf(value), sizeof(float));
  BitWriter bits;
  WriteCode(codes.indices, bits);
  WriteCode(codes.gaps, bits);
  const HuffmanEncoder indices(codes.indices), gaps(codes.gaps);
  const auto filler = static_cast<uint32_t>(sparse.codebook.size());
  const uint64_t greatest = (uint64_t{1} << codes.gap_bits) - 1;
  for (size_t i = 0; i < sparse.indices.size(); ++i) {
    for (uint64_t left = sparse.distances[i] >> codes.gap_bits; left > 0; --left) {
      gaps.Write(static_cast<uint32_t>(greatest), bits);
      indices.Write(filler, bits);
    }
    gaps.Write(static_cast<uint32_t>(sparse.distances[i] & greatest), bits);
    indices.Write(sparse.indices[i], bits);
  }
  out.Bytes(bits.bytes());
  layer.bytes = out.bytes();
  return layer;
}

absl::StatusOr<at::Tensor> DecodeLayer(absl::string_view bytes, const std::vector<int64_t>& shape) {
  uint64_t weights = 1;
  for (const int64_t size : shape) weights *= static_cast<uint64_t>(size);
  ByteReader reader(bytes);
  const uint64_t entries = reader.Number();
  if (!reader.ok()) return Wrong("it ends within the number of its entries");
  if (entries > weights) {
    return Wrong(absl::StrCat("it has ", entries, " entries; its shape has ", weights, " weights"));
  }
  if (entries == 0) {
    if (!reader.Rest().empty()) return Wrong(absl::StrCat(reader.Rest().size(), " bytes follow its last entry"));
    return at::zeros(shape, at::kFloat);
  }
  const uint64_t clusters = reader.Number(), gap_bits = reader.Fixed(1);
  if (!reader.ok()) return Wrong("it ends before its codebook");
  if (clusters < 1 || clusters > static_cast<uint64_t>(kMostClusters)) {
    return Wrong(absl::StrCat("its codebook has ", clusters, " values; must have 1 to ", kMostClusters));
  }
  if (gap_bits < 1 || gap_bits > kMostGapBits) {
    return Wrong(absl::StrCat("its gaps have ", gap_bits, " bits; must have 1 to ", kMostGapBits));
  }
  if (clusters > reader.Rest().size() / sizeof(float)) return Wrong("it ends within its codebook");
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<float> codebook, ReadCodebook(clusters, reader));
  BitReader bits(reader.Rest());
  const auto filler = static_cast<uint32_t>(clusters);
  PRUNELAB_ASSIGN_OR_RETURN(const HuffmanDecoder indices, ReadCode("indices", filler + 1, bits));
  PRUNELAB_ASSIGN_OR_RETURN(const HuffmanDecoder gaps, ReadCode("gaps", uint32_t{1} << gap_bits, bits));

  at::Tensor values = at::zeros(shape, at::kFloat);
  float* const value = values.data_ptr<float>();
  uint64_t next = 0;  // the place after that of the entry before
  uint32_t index = filler;
  for (uint64_t entry = 0; entry < entries; ++entry) {
    next += gaps.Next(bits) + 1;
    index = indices.Next(bits);
    if (bits.past_end()) return Wrong(absl::StrCat("it ends within entry ", entry, " of ", entries));
    if (next > weights) {
      return Wrong(absl::StrCat("entry ", entry, " is weight ", next - 1, "; its shape has ", weights));
    }
    if (index != filler) value[next - 1] = codebook[index];
  }
  if (index == filler) return Wrong("its last entry is a filler, which nothing follows");
  if (!bits.at_end()) return Wrong("more bits follow its last entry");
  return values;
}

}  // namespace prunelab
