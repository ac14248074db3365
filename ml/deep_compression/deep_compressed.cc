#include "ml/deep_compression/deep_compressed.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "ml/base/digest.h"
#include "ml/base/status_macros.h"
#include "ml/deep_compression/byte_stream.h"
#include "ml/deep_compression/huffman.h"
#include "ml/deep_compression/layer_coding.h"
#include "ml/deep_compression/weight_sharing.h"
#include "ml/execution/checkpoint.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

constexpr absl::string_view kMagic("\x89PDC\r\n\x1a\n", 8);
constexpr uint32_t kVersion = 1;
constexpr size_t kBeforeHeader = 8 + 4 + 8 + 4;  // magic, version, length, checksum
constexpr char kMaskSuffix[] = ".mask", kWeightSuffix[] = ".weight";
constexpr size_t kMostSizes = 64, kByteValues = 256;

// A type's place in this list is its number in a file.
constexpr at::ScalarType kStoredTypes[] = {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
                                           at::kInt,    at::kShort, at::kChar, at::kByte,     at::kBool};

enum class Storage : uint8_t { kRaw = 0, kLayer = 1, kDerivedMask = 2, kFilterMask = 3, kMask = 4 };
constexpr uint8_t kLastStorage = 4;

std::string Shape(at::IntArrayRef sizes) { return absl::StrCat("[", absl::StrJoin(sizes, ", "), "]"); }

// "a.weight" for "a.mask"; "" for other names.
std::string WeightOfMask(absl::string_view name) {
  return absl::ConsumeSuffix(&name, kMaskSuffix) ? absl::StrCat(name, kWeightSuffix) : "";
}

at::Tensor OnHost(const at::Tensor& tensor) { return tensor.detach().cpu().contiguous(); }

absl::string_view BytesOf(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()};
}

// --------------------------------------------------------------------------------------------------- which weights

absl::StatusOr<std::map<std::string, SharedLayerKind>> LayersOfNetwork(const Safetensors& checkpoint,
                                                                       const std::string& name) {
  PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo info, StoredNetwork(checkpoint.metadata, name));
  std::map<std::string, SharedLayerKind> layers;
  for (int index = 0; index < info.network().node_size(); ++index) {
    const Node& node = info.node(index);
    const std::string weight = absl::StrCat(node.name(), kWeightSuffix);
    if (node.has_linear()) layers[weight] = SharedLayerKind::kLinear;
    if (node.has_conv_transpose2d()) layers[weight] = SharedLayerKind::kConvolution;
    if (!node.has_conv2d()) continue;
    const NodeShape& out = info.shape(index);
    const bool one_pixel = out.height == 1 && out.width == 1;
    const bool one_by_one = node.conv2d().kernel_height() == 1 && node.conv2d().kernel_width() == 1;
    layers[weight] = one_pixel && one_by_one ? SharedLayerKind::kLinear : SharedLayerKind::kConvolution;
  }
  return layers;
}

std::map<std::string, SharedLayerKind> LayersByShape(const Safetensors& checkpoint) {
  std::map<std::string, SharedLayerKind> layers;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (!absl::EndsWith(name, kWeightSuffix)) continue;
    if (tensor.dim() == 2) layers[name] = SharedLayerKind::kLinear;
    if (tensor.dim() == 4) layers[name] = SharedLayerKind::kConvolution;
  }
  return layers;
}

absl::Status Refuse(absl::string_view name, absl::string_view tensor, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": ", tensor, " ", what));
}

absl::Status CheckBits(const char* which, int bits) {
  if (bits >= 1 && bits <= kMostClusterBits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(which, " is ", bits, "; must be from 1 to ", kMostClusterBits, ": a layer has 2^bits clusters"));
}

// The layer's weights with those that are masked set to zero.
absl::StatusOr<at::Tensor> Unmasked(const Safetensors& checkpoint, const std::string& name,
                                    const std::string& weight_name) {
  const at::Tensor weight = OnHost(checkpoint.tensors.at(weight_name));
  const at::Tensor bad = at::isfinite(weight).logical_not().flatten().nonzero();
  if (bad.size(0) > 0) {
    const auto place = bad[0][0].item<int64_t>();
    return Refuse(name, weight_name,
                  absl::StrCat("has the value ", weight.flatten()[place].item<float>(), " at element ", place,
                               "; must be finite"));
  }
  const std::string mask_name =
      absl::StrCat(weight_name.substr(0, weight_name.size() - std::strlen(kWeightSuffix)), kMaskSuffix);
  const auto mask = checkpoint.tensors.find(mask_name);
  if (mask == checkpoint.tensors.end()) return weight;
  std::vector<int64_t> filters(static_cast<size_t>(weight.dim()), 1);
  if (!filters.empty()) filters[0] = weight.size(0);
  if (mask->second.sizes() != weight.sizes() && mask->second.sizes() != at::IntArrayRef(filters)) {
    return Refuse(
        name, mask_name,
        absl::StrCat("is ", Shape(mask->second.sizes()), "; must be ", Shape(weight.sizes()), " or ", Shape(filters)));
  }
  return at::where(OnHost(mask->second) != 0, weight, at::zeros({}, at::kFloat)).contiguous();
}

// ------------------------------------------------------------------------------------------------------- encoding

struct Section {
  Storage storage = Storage::kRaw;
  std::string bytes;
};

std::string BitmapOf(const at::Tensor& on) {
  const at::Tensor flat = on.flatten().contiguous();
  const bool* const bit = flat.data_ptr<bool>();
  std::string bytes(static_cast<size_t>((flat.numel() + 7) / 8), '\0');
  for (int64_t i = 0; i < flat.numel(); ++i) {
    char& byte = bytes[static_cast<size_t>(i / 8)];
    if (bit[i]) byte = static_cast<char>(byte | 1 << (7 - i % 8));
  }
  return bytes;
}

// Whether each bit pattern is that of 0 or 1: -0.0 is no value of a mask.
bool IsMask(const at::Tensor& tensor) {
  if (tensor.scalar_type() != at::kFloat) return false;
  const at::Tensor bits = tensor.view(at::kInt);
  constexpr int32_t kOne = 0x3F800000;
  return (bits == 0).logical_or(bits == kOne).all().item<bool>();
}

// The shortest section of a mask. `weight`: what the decoder has under the weight's name; undefined if there is none.
Section MaskSection(const at::Tensor& mask, const at::Tensor& weight) {
  const at::Tensor on = mask != 0;
  Section best = {Storage::kMask, BitmapOf(on)};
  const auto offer = [&best](Storage storage, const std::string& bytes) {
    if (bytes.size() < best.bytes.size()) best = {storage, bytes};
  };
  if (mask.dim() > 0 && mask.numel() > 0) {
    const at::Tensor rows = on.reshape({mask.size(0), -1}), first = rows.narrow(1, 0, 1);
    if ((rows == first).all().item<bool>()) offer(Storage::kFilterMask, BitmapOf(first));
  }
  if (!weight.defined() || weight.sizes() != mask.sizes()) return best;
  const at::Tensor different = ((weight != 0) != on).flatten().nonzero().flatten().contiguous();
  ByteWriter places;
  places.Number(static_cast<uint64_t>(different.numel()));
  int64_t before = -1;
  for (int64_t i = 0; i < different.numel(); ++i) {
    const int64_t place = different.data_ptr<int64_t>()[i];
    places.Number(static_cast<uint64_t>(place - before - 1));
    before = place;
  }
  offer(Storage::kDerivedMask, places.bytes());
  return best;
}

int BitsFor(int64_t values) {
  int bits = 0;
  while (int64_t{1} << bits < values) ++bits;
  return bits;
}

DeepCompressedLayer ReportOf(const std::string& name, SharedLayerKind kind, const CodedLayer& coded) {
  DeepCompressedLayer layer;
  layer.name = name;
  layer.kind = kind;
  layer.weights = coded.weights;
  layer.nonzero = coded.nonzero;
  layer.fillers = coded.fillers;
  layer.clusters = coded.clusters;
  layer.gap_bits = coded.gap_bits;
  layer.index_bits = BitsFor(coded.clusters + (coded.fillers > 0 ? 1 : 0));
  const int64_t entries = layer.entries();
  if (entries > 0) {
    layer.mean_index_bits = static_cast<double>(coded.index_bits) / static_cast<double>(entries);
    layer.mean_gap_bits = static_cast<double>(coded.gaps_bits) / static_cast<double>(entries);
  }
  const auto bytes = [](int64_t bits) { return (bits + 7) / 8; };
  layer.pruned_bytes = bytes(entries * (32 + layer.gap_bits));
  layer.shared_bytes = bytes(entries * (layer.index_bits + layer.gap_bits)) + 4 * layer.clusters;
  layer.coded_bytes = static_cast<int64_t>(coded.bytes.size());
  return layer;
}

// Whether so many decoded bytes are too many for a file of `file_bytes`; what the limit is.
absl::Status CheckExpansion(uint64_t decoded, uint64_t file_bytes, uint64_t most_decoded) {
  const uint64_t most = std::min(most_decoded, kFreeExpansion + kMostExpansion * file_bytes);
  if (decoded <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("its tensors take ", decoded, " bytes; at most ", most,
                                                 " are allowed for a .pdc file of ", file_bytes, " bytes"));
}

// The metadata as the header has them.
std::string CodedMetadata(const std::map<std::string, std::string>& metadata) {
  ByteWriter plain, out;
  for (const auto& [key, value] : metadata) {
    plain.Text(key);
    plain.Text(value);
  }
  out.Number(plain.bytes().size());
  if (metadata.empty()) return out.bytes();
  std::vector<uint64_t> counts(kByteValues, 0);
  for (const char byte : plain.bytes()) ++counts[static_cast<unsigned char>(byte)];
  const HuffmanCode code = CodeFor(counts);
  BitWriter bits;
  WriteCode(code, bits);
  const HuffmanEncoder encoder(code);
  for (const char byte : plain.bytes()) encoder.Write(static_cast<unsigned char>(byte), bits);
  out.Text(bits.bytes());
  return out.bytes();
}

std::string Header(const Safetensors& file, const std::map<std::string, Section>& sections) {
  ByteWriter header;
  header.Bytes(CodedMetadata(file.metadata));
  header.Number(file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) {
    const Section& section = sections.at(name);
    const auto* const type = std::find(std::begin(kStoredTypes), std::end(kStoredTypes), tensor.scalar_type());
    header.Text(name);
    header.Fixed(static_cast<uint64_t>(type - std::begin(kStoredTypes)), 1);
    header.Fixed(static_cast<uint64_t>(tensor.dim()), 1);
    for (const int64_t size : tensor.sizes()) header.Number(static_cast<uint64_t>(size));
    header.Fixed(static_cast<uint64_t>(section.storage), 1);
    header.Number(section.bytes.size());
    header.Fixed(Crc32c(section.bytes), 4);
  }
  return header.bytes();
}

// ------------------------------------------------------------------------------------------------------- decoding

// What the header says about a tensor.
struct Entry {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;  // of its elements
  Storage storage = Storage::kRaw;
  uint64_t section_bytes = 0;
  uint32_t checksum = 0;
  uint64_t elements() const { return bytes / c10::elementSize(dtype); }
};

struct ParsedHeader {
  std::map<std::string, std::string> metadata;
  std::vector<Entry> entries;
  absl::string_view sections;
};

absl::Status Broken(absl::string_view name, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": not a valid .pdc file: ", what));
}

absl::Status Broken(absl::string_view name, const Entry& entry, absl::string_view what) {
  return Broken(name, absl::StrCat("tensor \"", entry.name, "\": ", what));
}

absl::Status Changed(absl::string_view name, absl::string_view what) {
  return Broken(name, absl::StrCat(what,
                                   " does not have its checksum: the file was changed or damaged; copy or make it "
                                   "again"));
}

// The sizes, from which the bytes of the elements follow.
absl::Status ReadShape(absl::string_view name, ByteReader& reader, Entry& entry) {
  // Far above what fits into memory, and far below where a product of an element's bytes overflows.
  constexpr uint64_t kMostElements = uint64_t{1} << 40;
  const uint64_t sizes = reader.Fixed(1);
  if (sizes > kMostSizes) return Broken(name, entry, absl::StrCat("has ", sizes, " sizes; at most 64 are allowed"));
  uint64_t elements = 1, product = 1;
  for (uint64_t i = 0; i < sizes; ++i) {
    const uint64_t size = reader.Number();
    // Sizes of 0 do not hide others that would overflow: strides are products of all but the first.
    if (size > kMostElements / product) {
      return Broken(name, entry, "its shape has more than 2^40 elements");
    }
    product *= std::max<uint64_t>(size, 1);
    elements *= size;
    entry.shape.push_back(static_cast<int64_t>(size));
  }
  entry.bytes = elements * c10::elementSize(entry.dtype);
  return absl::OkStatus();
}

absl::Status CheckStorage(absl::string_view name, uint64_t storage, const Entry& entry) {
  if (storage > kLastStorage) {
    return Broken(name, entry, absl::StrCat("is stored in way ", storage, "; there are 0 to ", int{kLastStorage}));
  }
  if (storage != static_cast<uint64_t>(Storage::kRaw) && entry.dtype != at::kFloat) {
    return Broken(name, entry, "is stored as weights or as a mask, but is no float32");
  }
  if (storage == static_cast<uint64_t>(Storage::kFilterMask) && (entry.shape.empty() || entry.bytes == 0)) {
    return Broken(name, entry, "is stored as a mask of filters, but has none");
  }
  if (storage == static_cast<uint64_t>(Storage::kDerivedMask) && WeightOfMask(entry.name).empty()) {
    return Broken(name, entry, "is stored as the mask of a weight, but is not called .mask");
  }
  return absl::OkStatus();
}

absl::StatusOr<Entry> ReadEntry(absl::string_view name, ByteReader& reader) {
  Entry entry;
  entry.name = std::string(reader.Text());
  const uint64_t type = reader.Fixed(1);
  constexpr size_t kTypes = std::end(kStoredTypes) - std::begin(kStoredTypes);
  if (type >= kTypes) {
    return Broken(name, entry, absl::StrCat("has type ", type, "; there are 0 to ", kTypes - 1));
  }
  entry.dtype = kStoredTypes[type];
  PRUNELAB_RETURN_IF_ERROR(ReadShape(name, reader, entry));
  const uint64_t storage = reader.Fixed(1);
  PRUNELAB_RETURN_IF_ERROR(CheckStorage(name, storage, entry));
  entry.storage = static_cast<Storage>(storage);
  entry.section_bytes = reader.Number();
  entry.checksum = static_cast<uint32_t>(reader.Fixed(4));
  return entry;
}

// The header's bytes, which its checksum covers, and the sections.
absl::StatusOr<std::pair<absl::string_view, absl::string_view>> SplitFile(absl::string_view bytes,
                                                                          absl::string_view name,
                                                                          const DecodeLimits& limits) {
  if (!LooksLikeDeepCompressed(bytes)) {
    return Broken(name, bytes.size() < kMagic.size() && absl::StartsWith(kMagic, bytes)
                            ? absl::StrCat("it is cut off: it has ", bytes.size(), " bytes")
                            : "it does not begin as one; //tools:deep_compress makes such files of checkpoints");
  }
  if (bytes.size() < kBeforeHeader) {
    return Broken(name, absl::StrCat("it is cut off: it has ", bytes.size(), " bytes, and ", kBeforeHeader,
                                     " come before its header"));
  }
  ByteReader reader(bytes.substr(kMagic.size()));
  const uint64_t version = reader.Fixed(4);
  if (version != kVersion) {
    return Broken(name, absl::StrCat("it is of version ", version, "; version ", kVersion, " can be read"));
  }
  const uint64_t header_bytes = reader.Fixed(8);
  const auto checksum = static_cast<uint32_t>(reader.Fixed(4));
  if (header_bytes > reader.Rest().size()) {
    return Broken(name, absl::StrCat("it is cut off: its header has ", header_bytes, " bytes, ", reader.Rest().size(),
                                     " are there"));
  }
  const absl::string_view header = reader.Rest().substr(0, header_bytes);
  const std::string covered = absl::StrCat(bytes.substr(kMagic.size(), 4 + 8), header);
  if (!limits.ignore_checksums && Crc32c(covered) != checksum) return Changed(name, "its header");
  return std::make_pair(header, reader.Rest().substr(header_bytes));
}

// The bytes that the metadata are, decoded.
absl::StatusOr<std::string> ReadMetadataBytes(absl::string_view name, ByteReader& reader) {
  const uint64_t count = reader.Number();
  const absl::string_view coded = count > 0 ? reader.Text() : absl::string_view();
  if (!reader.ok()) return Broken(name, "its header ends within the metadata");
  // A byte takes a bit at least: one that is alone cannot be many entries.
  if (count > 8 * coded.size()) {
    return Broken(name, absl::StrCat("its metadata have ", count, " bytes, in ", coded.size(), " coded ones"));
  }
  std::string bytes;
  if (count == 0) return bytes;
  BitReader bits(coded);
  const absl::StatusOr<HuffmanDecoder> decoder = HuffmanDecoder::Read(kByteValues, bits);
  if (!decoder.ok()) {
    return Broken(name, absl::StrCat("the table of its metadata's code has ", decoder.status().message()));
  }
  bytes.reserve(count);
  for (uint64_t i = 0; i < count; ++i) bytes.push_back(static_cast<char>(decoder->Next(bits)));
  if (!bits.at_end()) return Broken(name, "its metadata end early, or bits follow them");
  return bytes;
}

absl::StatusOr<std::map<std::string, std::string>> ReadMetadata(absl::string_view name, ByteReader& reader) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, ReadMetadataBytes(name, reader));
  std::map<std::string, std::string> metadata;
  ByteReader entries(bytes);
  while (entries.ok() && !entries.Rest().empty()) {
    const std::string key(entries.Text()), value(entries.Text());
    if (!metadata.empty() && key <= metadata.rbegin()->first) {
      return Broken(
          name, absl::StrCat("the metadata \"", key, "\" follow \"", metadata.rbegin()->first, "\"; keys must ascend"));
    }
    metadata[key] = value;
  }
  if (!entries.ok()) return Broken(name, "its metadata end within an entry");
  return metadata;
}

absl::StatusOr<ParsedHeader> ParseHeader(absl::string_view bytes, absl::string_view name, const DecodeLimits& limits) {
  PRUNELAB_ASSIGN_OR_RETURN(const auto split, SplitFile(bytes, name, limits));
  ByteReader reader(split.first);
  ParsedHeader header;
  header.sections = split.second;
  PRUNELAB_ASSIGN_OR_RETURN(header.metadata, ReadMetadata(name, reader));
  const uint64_t count = reader.Number();
  uint64_t sections = 0, decoded = 0;
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    PRUNELAB_ASSIGN_OR_RETURN(Entry entry, ReadEntry(name, reader));
    if (!header.entries.empty() && entry.name <= header.entries.back().name) {
      return Broken(name, entry, absl::StrCat("follows \"", header.entries.back().name, "\"; names must ascend"));
    }
    // Checked for each tensor, so that neither sum can overflow.
    if (entry.section_bytes > header.sections.size() - sections) {
      return Broken(name, entry,
                    absl::StrCat("is cut off: its section has ", entry.section_bytes, " bytes, ",
                                 header.sections.size() - sections, " are there"));
    }
    sections += entry.section_bytes;
    decoded += entry.bytes;
    if (const absl::Status status = CheckExpansion(decoded, bytes.size(), limits.decoded_bytes); !status.ok()) {
      return Broken(name, status.message());
    }
    header.entries.push_back(std::move(entry));
  }
  if (!reader.ok()) return Broken(name, "its header ends within the list of tensors");
  if (!reader.Rest().empty()) return Broken(name, "its header has bytes after the list of tensors");
  if (sections != header.sections.size()) {
    return Broken(name, absl::StrCat("its sections have ", sections, " bytes, ", header.sections.size(), " are there"));
  }
  return header;
}

absl::StatusOr<at::Tensor> ReadRaw(absl::string_view name, const Entry& entry, absl::string_view section) {
  if (section.size() != entry.bytes) {
    return Broken(name, entry,
                  absl::StrCat("its section has ", section.size(), " bytes; its shape and type need ", entry.bytes));
  }
  if (entry.dtype == at::kBool &&
      std::any_of(section.begin(), section.end(), [](char byte) { return byte != 0 && byte != 1; })) {
    return Broken(name, entry, "is bool, and has a byte other than 0 and 1");
  }
  at::Tensor tensor = at::empty(entry.shape, entry.dtype);
  if (!section.empty()) std::memcpy(tensor.data_ptr(), section.data(), section.size());
  return tensor;
}

absl::StatusOr<at::Tensor> ReadBitmap(absl::string_view name, const Entry& entry, absl::string_view section) {
  const bool filters = entry.storage == Storage::kFilterMask;
  const uint64_t bits = filters ? static_cast<uint64_t>(entry.shape[0]) : entry.elements();
  if (section.size() != (bits + 7) / 8) {
    return Broken(name, entry,
                  absl::StrCat("its mask has ", section.size(), " bytes; ", bits, " bits need ", (bits + 7) / 8));
  }
  if (bits % 8 != 0 && (static_cast<unsigned char>(section.back()) & ((1U << (8 - bits % 8)) - 1)) != 0) {
    return Broken(name, entry, "bits are set after the end of its mask");
  }
  at::Tensor mask = at::empty(entry.shape, at::kFloat);
  float* const value = mask.data_ptr<float>();
  const uint64_t each = bits == 0 ? 0 : entry.elements() / bits;
  for (uint64_t i = 0; i < bits; ++i) {
    const bool on = (static_cast<unsigned char>(section[i / 8]) >> (7 - i % 8) & 1) != 0;
    std::fill_n(value + i * each, each, on ? 1.0F : 0.0F);
  }
  return mask;
}

absl::StatusOr<at::Tensor> ReadDerivedMask(absl::string_view name, const Entry& entry, absl::string_view section,
                                           const std::map<std::string, at::Tensor>& tensors) {
  const std::string weight_name = WeightOfMask(entry.name);
  const auto weight = tensors.find(weight_name);
  if (weight == tensors.end()) return Broken(name, entry, absl::StrCat("\"", weight_name, "\" is not in the file"));
  if (weight->second.sizes() != at::IntArrayRef(entry.shape)) {
    return Broken(
        name, entry,
        absl::StrCat("is ", Shape(entry.shape), ", but \"", weight_name, "\" is ", Shape(weight->second.sizes())));
  }
  at::Tensor mask = (weight->second != 0).to(at::kFloat).contiguous();
  float* const value = mask.data_ptr<float>();
  ByteReader reader(section);
  const uint64_t places = reader.Number(), elements = entry.elements();
  uint64_t next = 0;
  for (uint64_t i = 0; i < places && reader.ok(); ++i) {
    const uint64_t distance = reader.Number();
    if (distance >= elements - next) {
      return Broken(name, entry, absl::StrCat("place ", i, " of its exceptions lies after its last element"));
    }
    next += distance + 1;
    value[next - 1] = 1 - value[next - 1];
  }
  if (!reader.ok()) return Broken(name, entry, "its exceptions end early");
  if (!reader.Rest().empty()) return Broken(name, entry, "bytes follow its exceptions");
  return mask;
}

absl::StatusOr<at::Tensor> ReadSection(absl::string_view name, const Entry& entry, absl::string_view section) {
  switch (entry.storage) {
    case Storage::kRaw:
      return ReadRaw(name, entry, section);
    case Storage::kFilterMask:
    case Storage::kMask:
      return ReadBitmap(name, entry, section);
    default:
      break;
  }
  absl::StatusOr<at::Tensor> weights = DecodeLayer(section, entry.shape);
  return weights.ok() ? weights : Broken(name, entry, weights.status().message());
}

}  // namespace

absl::StatusOr<std::map<std::string, SharedLayerKind>> SharedLayers(const Safetensors& checkpoint,
                                                                    const std::string& name, int64_t least_weights) {
  std::map<std::string, SharedLayerKind> layers;
  if (checkpoint.metadata.count(kNetworkKey) > 0) {
    PRUNELAB_ASSIGN_OR_RETURN(layers, LayersOfNetwork(checkpoint, name));
  } else {
    layers = LayersByShape(checkpoint);
  }
  for (auto layer = layers.begin(); layer != layers.end();) {
    const auto found = checkpoint.tensors.find(layer->first);
    const bool shared = found != checkpoint.tensors.end() && found->second.scalar_type() == at::kFloat &&
                        found->second.numel() >= least_weights;
    layer = shared ? std::next(layer) : layers.erase(layer);
  }
  return layers;
}

absl::StatusOr<Safetensors> ShareCheckpoint(const Safetensors& checkpoint, const std::string& name,
                                            const DeepCompressionOptions& options) {
  PRUNELAB_RETURN_IF_ERROR(CheckBits("conv_bits", options.conv_bits));
  PRUNELAB_RETURN_IF_ERROR(CheckBits("linear_bits", options.linear_bits));
  if (!checkpoint.passed_over.empty()) {
    const auto& [tensor, entry] = *checkpoint.passed_over.begin();
    return Refuse(name, tensor, absl::StrCat("is ", entry.dtype_name, ", which is not read here; take it out"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const auto layers, SharedLayers(checkpoint, name, options.least_weights));
  Safetensors shared = checkpoint;
  for (const auto& [weight_name, kind] : layers) {
    PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor weight, Unmasked(checkpoint, name, weight_name));
    const int bits = kind == SharedLayerKind::kLinear ? options.linear_bits : options.conv_bits;
    shared.tensors[weight_name] = ValuesOf(ShareWeights(weight, int64_t{1} << bits));
  }
  return shared;
}

absl::StatusOr<DeepCompressed> EncodeDeepCompressed(const Safetensors& checkpoint, const std::string& name,
                                                    const DeepCompressionOptions& options) {
  if (options.gap_bits && (*options.gap_bits < 1 || *options.gap_bits > kMostGapBits)) {
    return absl::InvalidArgumentError(
        absl::StrCat("gap_bits is ", *options.gap_bits, "; must be from 1 to ", kMostGapBits));
  }
  DeepCompressed result;
  DeepCompressionReport& report = result.report;
  PRUNELAB_ASSIGN_OR_RETURN(const auto layers, SharedLayers(checkpoint, name, options.least_weights));
  PRUNELAB_ASSIGN_OR_RETURN(result.shared, ShareCheckpoint(checkpoint, name, options));
  std::map<std::string, Section> sections;
  uint64_t decoded = 0;
  for (auto& [tensor_name, tensor] : result.shared.tensors) {
    if (std::find(std::begin(kStoredTypes), std::end(kStoredTypes), tensor.scalar_type()) == std::end(kStoredTypes) ||
        tensor.dim() > static_cast<int64_t>(kMostSizes)) {
      return Refuse(name, tensor_name,
                    absl::StrCat("is ", c10::toString(tensor.scalar_type()), " of ", tensor.dim(),
                                 " sizes, which no safetensors file can have"));
    }
    tensor = OnHost(tensor);
    decoded += tensor.nbytes();
    Section& section = sections[tensor_name];
    const std::string weight_name = WeightOfMask(tensor_name);
    if (!weight_name.empty() && IsMask(tensor)) {
      const auto weight = result.shared.tensors.find(weight_name);
      section = MaskSection(tensor, weight == result.shared.tensors.end() ? at::Tensor() : OnHost(weight->second));
      report.mask_bytes += static_cast<int64_t>(section.bytes.size());
      continue;
    }
    report.dense_bytes += static_cast<int64_t>(tensor.nbytes());
    if (const auto layer = layers.find(tensor_name); layer != layers.end()) {
      const CodedLayer coded = EncodeLayer(tensor, options.gap_bits);
      section = {Storage::kLayer, coded.bytes};
      report.layers.push_back(ReportOf(tensor_name, layer->second, coded));
    } else {
      section = {Storage::kRaw, std::string(BytesOf(tensor))};
      report.other_bytes += static_cast<int64_t>(section.bytes.size());
    }
  }
  const std::string header = Header(result.shared, sections);
  ByteWriter version_and_length;
  version_and_length.Fixed(kVersion, 4);
  version_and_length.Fixed(header.size(), 8);
  ByteWriter file;
  file.Bytes(kMagic);
  file.Bytes(version_and_length.bytes());
  file.Fixed(Crc32c(absl::StrCat(version_and_length.bytes(), header)), 4);
  file.Bytes(header);
  report.header_bytes = static_cast<int64_t>(file.bytes().size());
  for (const auto& [tensor_name, section] : sections) file.Bytes(section.bytes);
  result.bytes = file.bytes();
  report.file_bytes = static_cast<int64_t>(result.bytes.size());
  if (const absl::Status status = CheckExpansion(decoded, result.bytes.size(), DecodeLimits().decoded_bytes);
      !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", status.message()));
  }
  return result;
}

bool LooksLikeDeepCompressed(absl::string_view head) { return absl::StartsWith(head, kMagic); }

absl::StatusOr<Safetensors> DecodeDeepCompressed(absl::string_view bytes, absl::string_view name,
                                                 const DecodeLimits& limits) {
  PRUNELAB_ASSIGN_OR_RETURN(ParsedHeader header, ParseHeader(bytes, name, limits));
  Safetensors file;
  file.metadata = std::move(header.metadata);
  std::vector<std::pair<const Entry*, absl::string_view>> derived;  // after the weights that they follow from
  uint64_t at = 0;
  for (const Entry& entry : header.entries) {
    const absl::string_view section = header.sections.substr(at, entry.section_bytes);
    at += entry.section_bytes;
    if (!limits.ignore_checksums && Crc32c(section) != entry.checksum) {
      return Changed(name, absl::StrCat("the section of tensor \"", entry.name, "\""));
    }
    if (entry.storage == Storage::kDerivedMask) {
      derived.emplace_back(&entry, section);
      continue;
    }
    PRUNELAB_ASSIGN_OR_RETURN(file.tensors[entry.name], ReadSection(name, entry, section));
  }
  for (const auto& [entry, section] : derived) {
    PRUNELAB_ASSIGN_OR_RETURN(at::Tensor mask, ReadDerivedMask(name, *entry, section, file.tensors));
    file.tensors[entry->name] = std::move(mask);
  }
  return file;
}

absl::StatusOr<std::map<std::string, std::string>> DeepCompressedMetadata(absl::string_view bytes,
                                                                          absl::string_view name) {
  PRUNELAB_ASSIGN_OR_RETURN(const ParsedHeader header, ParseHeader(bytes, name, {}));
  return header.metadata;
}

}  // namespace prunelab
