// Deep Compression (Song Han, Huizi Mao, William J. Dally, "Deep Compression: Compressing Deep Neural Networks with
// Pruning, Trained Quantization and Huffman Coding", ICLR 2016): a pruned checkpoint as a small file, .pdc. The weights
// of each layer are shared (weight_sharing.h), and what is left of them is coded without loss (layer_coding.h).
//
//   PRUNELAB_ASSIGN_OR_RETURN(const DeepCompressed small, EncodeDeepCompressed(checkpoint, "w.safetensors", {}));
//   PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically("w.pdc", small.bytes));
//   ...
//   PRUNELAB_ASSIGN_OR_RETURN(const Safetensors decoded, DecodeDeepCompressed(bytes, "w.pdc"));  // == small.shared
//
// Only sharing loses something. Decoding gives the shared checkpoint bit for bit: names, types, shapes, metadata,
// masks, and what is not shared.
//
// The file, in which all numbers are little-endian, and "number" and "text" are those of byte_stream.h:
//
//   8 bytes   89 50 44 43 0D 0A 1A 0A (".PDC", and line ends that a transfer as text would break)
//   4 bytes   version, 1
//   8 bytes   length of the header
//   4 bytes   CRC-32C of the version, the length and the header
//   header    the metadata: number of bytes that they are, and unless it is 0: number of bytes that follow; the table
//             of a Huffman code for 256 symbols (huffman.h), and the code of each byte. The bytes are, for each entry,
//             ascending: text key, text value. (A network is some kilobytes of text, as large as a small layer.)
//             number of tensors; for each, ascending by name: text name; 1 byte type, the place in kStoredTypes; 1 byte
//             number of sizes, then each as a number; 1 byte storage (below); number of bytes of its section; 4 bytes
//             CRC-32C of its section
//   sections  one after the other, in the order of the tensors, up to the end of the file
//
//   storage  section
//   0 raw    the elements, as in a safetensors file
//   1 layer  float32 weights as layer_coding.h describes them
//   2 derived mask, "X.mask": 1 where "X.weight" of the same shape is not zero, else 0, except at the places that the
//            section lists: number of places, then each as a number, its distance from the place before it minus one
//   3 filter mask: a bit for each entry of the first dimension, the same for all elements in it; the highest bit of a
//            byte first, filled up with zeros
//   4 mask   a bit for each element, likewise
//
// Masks are float32 and their elements 0 or 1. Everything is checked, sizes before anything is allocated: a shape's
// bytes do not overflow, and all tensors together take at most DecodeLimits::decoded_bytes and at most kFreeExpansion +
// kMostExpansion * (bytes of the file). The last bound is for hostile files, which could claim gigabytes of zeros; a
// file that the encoder wrote is never above it. A file that was cut off or changed anywhere is refused by a length or
// a checksum.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

constexpr int kMostClusterBits = 16;
constexpr uint64_t kFreeExpansion = uint64_t{1} << 26, kMostExpansion = uint64_t{1} << 12;

struct DeepCompressionOptions {
  // A layer has at most 2^bits different weights besides zero; 1 to kMostClusterBits. The paper's are the defaults.
  int conv_bits = 8;
  int linear_bits = 5;
  // The bits of a gap, 1 to 16, for all layers; unset: for each layer those that give the smallest file.
  std::optional<int> gap_bits;
  // Weights with fewer elements are stored as they are: a codebook would be about as large.
  int64_t least_weights = 256;
};

// What a weight belongs to. A 1x1 convolution of one pixel is a linear layer, whatever it is called.
enum class SharedLayerKind { kConvolution, kLinear };

// The weights of a checkpoint that are shared, by name: float32, of convolutions (transposed ones, too) and linear
// layers of its network, with at least `least_weights` elements. Without a network in the metadata (a PyTorch
// state_dict): every "X.weight" of two dimensions is a linear layer's, and one of four a convolution's. Errors: a
// network that is refused.
absl::StatusOr<std::map<std::string, SharedLayerKind>> SharedLayers(const Safetensors& checkpoint,
                                                                    const std::string& name, int64_t least_weights);

// The checkpoint with its layers' weights shared. Masked weights (a mask "X.mask" of "X.weight") become zero first.
// Sharing again with as many bits changes nothing. Errors name the tensor: bits that are not from 1 to
// kMostClusterBits, a weight that is not finite, a mask of another shape than the weight's or [out, 1, 1, 1], a tensor
// of a type that was passed over when it was read, and those of SharedLayers.
absl::StatusOr<Safetensors> ShareCheckpoint(const Safetensors& checkpoint, const std::string& name,
                                            const DeepCompressionOptions& options);

// What became of a shared layer; the paper's tables 2 to 5.
struct DeepCompressedLayer {
  std::string name;  // of the weight
  SharedLayerKind kind = SharedLayerKind::kConvolution;
  int64_t weights = 0;   // all of them
  int64_t nonzero = 0;   // after pruning
  int64_t fillers = 0;   // entries that bridge long gaps
  int64_t clusters = 0;  // different values
  int index_bits = 0;    // of an index, without Huffman coding: those of `clusters` values and, if there are, fillers
  int gap_bits = 0;      // of a gap, likewise
  double mean_index_bits = 0, mean_gap_bits = 0;  // with it, for an entry; 0 if there are none
  int64_t pruned_bytes = 0;                       // entries of a float32 value and a gap
  int64_t shared_bytes = 0;                       // entries of an index and a gap, and the codebook
  int64_t coded_bytes = 0;  // with Huffman coding: all bytes of its section, with codebook and tables
  int64_t entries() const { return nonzero + fillers; }
};

struct DeepCompressionReport {
  std::vector<DeepCompressedLayer> layers;  // in the order of their names
  int64_t dense_bytes = 0;   // all tensors but masks, as they come in; of float32 tensors four bytes an element
  int64_t other_bytes = 0;   // tensors that are stored as they are: biases, norms, small weights
  int64_t mask_bytes = 0;    // sections of masks
  int64_t header_bytes = 0;  // everything before the first section: metadata, names, shapes
  int64_t file_bytes = 0;
};

struct DeepCompressed {
  std::string bytes;   // of the file
  Safetensors shared;  // what decoding it gives
  DeepCompressionReport report;
};

// Shares the checkpoint's layers and codes them. `name` is the checkpoint's name in errors. Errors: those of
// ShareCheckpoint, a tensor of a type that a safetensors file cannot have, gap bits that are not from 1 to 16, a
// checkpoint that would expand by more than the limits above. The bytes depend on the checkpoint and the options alone.
absl::StatusOr<DeepCompressed> EncodeDeepCompressed(const Safetensors& checkpoint, const std::string& name,
                                                    const DeepCompressionOptions& options);

struct DecodeLimits {
  uint64_t decoded_bytes = uint64_t{1} << 32;
  // For a fuzz target only, which would have to guess checksums otherwise.
  bool ignore_checksums = false;
};

// Whether bytes begin as a .pdc file does.
bool LooksLikeDeepCompressed(absl::string_view head);

// The checkpoint of a .pdc file. Errors begin with `name` and say where the file is broken and how.
absl::StatusOr<Safetensors> DecodeDeepCompressed(absl::string_view bytes, absl::string_view name,
                                                 const DecodeLimits& limits = {});

// Its metadata alone; the sections are not looked at.
absl::StatusOr<std::map<std::string, std::string>> DeepCompressedMetadata(absl::string_view bytes,
                                                                          absl::string_view name);

}  // namespace prunelab
