#include "ml/deep_compression/deep_compressed.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/base/random.h"
#include "ml/deep_compression/weight_sharing.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Normal weights, of which about one in `sparsity` is not zero.
at::Tensor RandomWeights(const std::vector<int64_t>& shape, uint64_t sparsity, uint64_t seed) {
  RandomStream stream(seed, "weights");
  at::Tensor weights = at::zeros(shape);
  for (int64_t i = 0; i < weights.numel(); ++i) {
    const auto value = static_cast<float>(stream.Normal());
    if (stream.Below(sparsity) == 0) weights.data_ptr<float>()[i] = value;
  }
  return weights;
}

// A convolution with BN, a 1x1 convolution of one pixel and a linear layer, with random weights.
Model SmallModel() {
  NetworkWriter net;
  std::string x = net.Relu("relu", net.BatchNorm("bn", net.Conv("conv", net.Image(3, 6, 6), {16, 3, 1, 1})));
  x = net.Conv("gate", net.GlobalAveragePool("pool", x), {40, 1, 1, 0, /*bias=*/true});
  net.Linear("fc", net.Flatten("flat", x), 10);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kFloat, at::kCPU);
  InitializeParameters(model, 3);
  return model;
}

// The same with masks of weights, and other values behind them.
Safetensors SmallCheckpoint() {
  Model model = SmallModel();
  std::map<std::string, at::Tensor> masks;
  for (const char* node : {"conv", "gate"}) {
    masks[node] = (RandomWeights(model.Get(absl::StrCat(node, ".weight")).sizes().vec(), 4, 7) != 0).to(at::kFloat);
  }
  model.SetMasks(masks);
  Safetensors file = ModelToSafetensors(model);
  for (auto& [name, tensor] : file.tensors) tensor = tensor.detach().contiguous().clone();
  return file;
}

// Whether both have the same tensors, types, shapes, bits and metadata.
void ExpectSame(const Safetensors& a, const Safetensors& b) {
  EXPECT_EQ(a.metadata, b.metadata);
  EXPECT_EQ(SerializeSafetensors(a), SerializeSafetensors(b));
}

DeepCompressed Encode(const Safetensors& file, const DeepCompressionOptions& options = {}) {
  absl::StatusOr<DeepCompressed> encoded = EncodeDeepCompressed(file, "x.safetensors", options);
  EXPECT_TRUE(encoded.ok()) << encoded.status();
  return encoded.ok() ? *std::move(encoded) : DeepCompressed();
}

// Encodes and decodes; what is decoded is the shared checkpoint.
DeepCompressed ExpectRoundTrip(const Safetensors& file, const DeepCompressionOptions& options = {}) {
  DeepCompressed encoded = Encode(file, options);
  const absl::StatusOr<Safetensors> shared = ShareCheckpoint(file, "x.safetensors", options);
  EXPECT_TRUE(shared.ok()) << shared.status();
  ExpectSame(encoded.shared, *shared);
  const absl::StatusOr<Safetensors> decoded = DecodeDeepCompressed(encoded.bytes, "x.pdc");
  EXPECT_TRUE(decoded.ok()) << decoded.status();
  if (decoded.ok()) ExpectSame(*decoded, *shared);
  const DeepCompressionReport& report = encoded.report;
  EXPECT_EQ(report.file_bytes, static_cast<int64_t>(encoded.bytes.size()));
  int64_t sum = report.other_bytes + report.mask_bytes + report.header_bytes;
  for (const DeepCompressedLayer& layer : report.layers) sum += layer.coded_bytes;
  EXPECT_EQ(sum, report.file_bytes);
  return encoded;
}

std::string ErrorOf(const Safetensors& file, const DeepCompressionOptions& options = {}) {
  return std::string(EncodeDeepCompressed(file, "x.safetensors", options).status().message());
}

TEST(DeepCompressedTest, ACheckpointWithItsNetworkAndMasks) {
  Safetensors file = SmallCheckpoint();
  file.metadata["note"] = std::string("a\0b\xff", 4);
  const DeepCompressed encoded = ExpectRoundTrip(file);
  ASSERT_EQ(encoded.report.layers.size(), 3u);
  const DeepCompressedLayer &conv = encoded.report.layers[0], &fc = encoded.report.layers[1],
                            &gate = encoded.report.layers[2];
  EXPECT_EQ(conv.name, "conv.weight");
  EXPECT_EQ(conv.kind, SharedLayerKind::kConvolution);
  EXPECT_EQ(fc.kind, SharedLayerKind::kLinear);
  EXPECT_EQ(gate.kind, SharedLayerKind::kLinear) << "a 1x1 convolution of one pixel";
  EXPECT_EQ(conv.nonzero, file.tensors["conv.mask"].sum().item<int64_t>());
  EXPECT_EQ(conv.clusters, conv.nonzero) << "fewer than 256 weights are left, all different";
  EXPECT_EQ(fc.nonzero, 400);
  EXPECT_LE(gate.clusters, 32);
  // Masks are where the weights are not zero: nothing but the number of exceptions is stored.
  EXPECT_EQ(encoded.report.mask_bytes, 2);
  EXPECT_TRUE(at::equal(encoded.shared.tensors.at("conv.weight") != 0, file.tensors["conv.mask"] != 0));
  const absl::StatusOr<std::map<std::string, std::string>> metadata = DeepCompressedMetadata(encoded.bytes, "x.pdc");
  ASSERT_TRUE(metadata.ok());
  EXPECT_EQ(*metadata, file.metadata);
  // The masked model computes with the shared weights alone.
  EXPECT_TRUE(LoadIntoModel(encoded.shared, "shared", *std::make_unique<Model>(SmallModel())).ok());
}

// By hand: ten entries of 32 + 2 bits are 42.5 bytes; of 2 + 2 bits 5 bytes and three values of four bytes.
TEST(DeepCompressedTest, SizesByHand) {
  Safetensors file;
  at::Tensor weight = at::zeros({4, 10});
  for (int64_t i = 0; i < 10; ++i) weight.data_ptr<float>()[4 * i] = static_cast<float>(i % 3 + 1);
  file.tensors["fc.weight"] = weight;
  file.tensors["fc.bias"] = at::ones({4});
  DeepCompressionOptions options;
  options.least_weights = 40;
  options.gap_bits = 2;
  const DeepCompressed encoded = ExpectRoundTrip(file, options);
  ASSERT_EQ(encoded.report.layers.size(), 1u);
  const DeepCompressedLayer& layer = encoded.report.layers[0];
  EXPECT_EQ(layer.weights, 40);
  EXPECT_EQ(layer.nonzero, 10);
  EXPECT_EQ(layer.fillers, 0);
  EXPECT_EQ(layer.clusters, 3);
  EXPECT_EQ(layer.index_bits, 2);
  EXPECT_EQ(layer.gap_bits, 2);
  EXPECT_EQ(layer.pruned_bytes, 43);
  EXPECT_EQ(layer.shared_bytes, 5 + 12);
  EXPECT_DOUBLE_EQ(layer.mean_index_bits, 1.6);  // 4, 3 and 3 times: one, two and two bits
  EXPECT_DOUBLE_EQ(layer.mean_gap_bits, (1 + 9) / 10.0);
  EXPECT_EQ(encoded.report.dense_bytes, 44 * 4);
  EXPECT_EQ(encoded.report.other_bytes, 16);
  options.least_weights = 41;
  EXPECT_TRUE(ExpectRoundTrip(file, options).report.layers.empty());
}

TEST(DeepCompressedTest, RandomShapes) {
  RandomStream stream(5, "shapes");
  for (int trial = 0; trial < 40; ++trial) {
    Safetensors file;
    for (int tensor = 0; tensor < 3; ++tensor) {
      std::vector<int64_t> shape;
      while (shape.size() < (tensor == 0 ? 4u : 2u)) shape.push_back(static_cast<int64_t>(stream.Below(9)));
      file.tensors[absl::StrCat("layer", tensor, ".weight")] =
          RandomWeights(shape, 1 + stream.Below(20), static_cast<uint64_t>(100 * trial + tensor));
    }
    file.tensors["layer1.mask"] =
        (RandomWeights(file.tensors["layer1.weight"].sizes().vec(), 2, 3) != 0).to(at::kFloat);
    DeepCompressionOptions options;
    options.conv_bits = 1 + static_cast<int>(stream.Below(8));
    options.linear_bits = 1 + static_cast<int>(stream.Below(8));
    options.least_weights = 1;
    if (trial % 3 == 0) options.gap_bits = 1 + static_cast<int>(stream.Below(16));
    ExpectRoundTrip(file, options);
    if (HasFailure()) return;
  }
}

TEST(DeepCompressedTest, ExtremeLayers) {
  Safetensors file;
  file.tensors["million.weight"] = RandomWeights({1024, 1024}, 15, 1);
  file.tensors["zeros.weight"] = at::zeros({1024, 1024});
  file.tensors["none.weight"] = at::zeros({0, 7});
  file.tensors["one.weight"] = at::full({1, 1}, -2.5F);
  file.tensors["same.weight"] = at::full({100, 100}, 1e-30F);
  file.tensors["different.weight"] = at::arange(1, 33, at::kFloat).view({4, 8});
  at::Tensor last = at::zeros({1000, 1000});
  last[999][999] = 1;
  file.tensors["last.weight"] = last;
  DeepCompressionOptions options;
  options.least_weights = 0;
  const DeepCompressed encoded = ExpectRoundTrip(file, options);
  EXPECT_TRUE(at::equal(encoded.shared.tensors.at("different.weight"), file.tensors["different.weight"]));
  options.linear_bits = 1;
  ExpectRoundTrip(file, options);
  ExpectRoundTrip({});
}

// What is not shared stays as it is, whatever its type and its bits.
TEST(DeepCompressedTest, OtherTensorsBitForBit) {
  Safetensors file;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  file.tensors["bn.bias"] = at::tensor({-0.F, 0.F, nan, INFINITY, 1e-45F});
  file.tensors["steps"] = at::tensor(int64_t{1} << 60);
  file.tensors["none"] = at::zeros({3, 0, 2}, at::kDouble);
  for (const at::ScalarType type :
       {at::kDouble, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte, at::kBool}) {
    file.tensors[absl::StrCat("of_type_", c10::toString(type), ".weight")] = at::arange(600).view({20, 30}).to(type);
  }
  file.tensors["strided.bias"] = at::arange(12, at::kFloat).view({3, 4}).t();
  const DeepCompressed encoded = ExpectRoundTrip(file);
  EXPECT_TRUE(encoded.report.layers.empty());
}

TEST(DeepCompressedTest, MasksOfEveryKind) {
  const at::Tensor weight = RandomWeights({32, 4, 3, 3}, 5, 11);
  const at::Tensor live = (weight != 0).to(at::kFloat);
  const auto bytes_of = [&](const at::Tensor& mask) {
    Safetensors file;
    file.tensors["conv.weight"] = weight;
    file.tensors["conv.mask"] = mask;
    return ExpectRoundTrip(file).report.mask_bytes;
  };
  EXPECT_EQ(bytes_of(live), 1) << "derived";
  at::Tensor more = live.clone();
  more.view({-1}).narrow(0, 0, 40).fill_(1);
  const auto exceptions = static_cast<int64_t>((more != live).sum().item<int64_t>());
  EXPECT_GT(exceptions, 20);
  EXPECT_LE(bytes_of(more), 1 + exceptions) << "derived, with weights that are zero though they are not masked";
  at::Tensor filters = at::ones({32, 4, 3, 3});
  filters.narrow(0, 3, 9).fill_(0);
  EXPECT_EQ(bytes_of(filters), 4) << "a bit for each filter";
  EXPECT_EQ(bytes_of(filters.narrow(1, 0, 1).narrow(2, 0, 1).narrow(3, 0, 1)), 4);
  Safetensors file;
  file.tensors["alone.mask"] = (RandomWeights({32, 4, 3, 3}, 2, 12) != 0).to(at::kFloat);
  EXPECT_EQ(ExpectRoundTrip(file).report.mask_bytes, 32 * 36 / 8) << "a bit for each weight";
  // These are no masks: stored as they are.
  file.tensors["alone.mask"] = at::tensor({0.F, 1.F, -0.F});
  file.tensors["bytes.mask"] = at::ones({40}, at::kByte);
  file.tensors["half.mask"] = at::full({40}, 0.5F);
  const DeepCompressed encoded = ExpectRoundTrip(file);
  EXPECT_EQ(encoded.report.mask_bytes, 0);
  EXPECT_EQ(encoded.report.other_bytes, 12 + 40 + 160);
}

TEST(DeepCompressedTest, MaskedWeightsBecomeZero) {
  Safetensors file;
  file.tensors["conv.weight"] = RandomWeights({64, 1, 3, 3}, 1, 13);
  at::Tensor mask = at::ones({64, 1, 1, 1});
  mask.narrow(0, 0, 60).fill_(0);
  file.tensors["conv.mask"] = mask;
  const DeepCompressed encoded = ExpectRoundTrip(file);
  EXPECT_TRUE(at::equal(encoded.shared.tensors.at("conv.weight"), file.tensors["conv.weight"] * mask));
  EXPECT_EQ(encoded.report.layers[0].nonzero, 36);
}

TEST(DeepCompressedTest, IsTheSameWhatEverTheThreads) {
  const Safetensors file = SmallCheckpoint();
  EXPECT_EQ(Encode(file).bytes, Encode(file).bytes);
  // Sharing what was decoded, with as many bits, changes nothing.
  const DeepCompressed once = Encode(file);
  EXPECT_EQ(Encode(once.shared).bytes, once.bytes);
}

TEST(DeepCompressedTest, RefusesCheckpointsByName) {
  Safetensors file = SmallCheckpoint();
  DeepCompressionOptions options;
  options.conv_bits = 0;
  EXPECT_EQ(ErrorOf(file, options), "conv_bits is 0; must be from 1 to 16: a layer has 2^bits clusters");
  options = {};
  options.linear_bits = 17;
  EXPECT_EQ(ErrorOf(file, options), "linear_bits is 17; must be from 1 to 16: a layer has 2^bits clusters");
  options = {};
  options.gap_bits = 17;
  EXPECT_EQ(ErrorOf(file, options), "gap_bits is 17; must be from 1 to 16");
  Safetensors bad = file;
  bad.tensors["conv.weight"] = file.tensors["conv.weight"].clone();
  bad.tensors["conv.weight"].view({-1})[7] = INFINITY;
  EXPECT_EQ(ErrorOf(bad), "x.safetensors: conv.weight has the value inf at element 7; must be finite");
  bad = file;
  bad.tensors["conv.mask"] = at::ones({3});
  EXPECT_EQ(ErrorOf(bad), "x.safetensors: conv.mask is [3]; must be [16, 3, 3, 3] or [16, 1, 1, 1]");
  bad = file;
  bad.passed_over["epoch"].dtype_name = "U16";
  EXPECT_EQ(ErrorOf(bad), "x.safetensors: epoch is U16, which is not read here; take it out");
  bad = file;
  bad.metadata[kNetworkKey] = "node {";
  EXPECT_THAT(ErrorOf(bad), HasSubstr("x.safetensors: "));
  // 256 MiB of zeros would be a file of 30 bytes.
  bad = {};
  bad.tensors["fc.weight"] = at::zeros({1 << 13, 1 << 13});
  EXPECT_THAT(ErrorOf(bad), HasSubstr("x.safetensors: its tensors take 268435456 bytes; at most 67"));
}

// A small file with a section of each kind.
std::string SmallFile() {
  Safetensors file;
  file.metadata["k"] = "v";
  file.tensors["a.weight"] = RandomWeights({6, 20}, 6, 17);
  file.tensors["a.mask"] = (file.tensors["a.weight"] != 0).to(at::kFloat);
  file.tensors["b.mask"] = at::ones({4, 3}) * at::tensor({1.F, 0.F, 0.F, 1.F}).view({4, 1});
  file.tensors["c.mask"] = (RandomWeights({3, 5}, 2, 18) != 0).to(at::kFloat);
  file.tensors["d"] = at::tensor({1, 0}).to(at::kBool);
  DeepCompressionOptions options;
  options.least_weights = 1;
  options.linear_bits = 3;
  return ExpectRoundTrip(file, options).bytes;
}

TEST(DeepCompressedTest, EveryTruncationIsRefused) {
  const std::string bytes = SmallFile();
  for (size_t length = 0; length < bytes.size(); ++length) {
    const absl::Status status = DecodeDeepCompressed(bytes.substr(0, length), "x.pdc").status();
    ASSERT_FALSE(status.ok()) << length;
    EXPECT_THAT(std::string(status.message()), HasSubstr("x.pdc: not a valid .pdc file: ")) << length;
    // The empty file is no beginning of a file.
    EXPECT_THAT(std::string(status.message()), HasSubstr("cut off")) << length;
  }
  EXPECT_FALSE(DecodeDeepCompressed(bytes + "x", "x.pdc").ok());
}

TEST(DeepCompressedTest, EveryChangedByteIsRefused) {
  const std::string bytes = SmallFile();
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int change = 1; change < 256; ++change) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ change);
      const absl::Status status = DecodeDeepCompressed(changed, "x.pdc").status();
      ASSERT_FALSE(status.ok()) << at << " " << change;
      ASSERT_THAT(std::string(status.message()), HasSubstr("x.pdc: not a valid .pdc file: ")) << at;
    }
  }
}

TEST(DeepCompressedTest, ErrorsSayWhatIsBroken) {
  const std::string bytes = SmallFile();
  const auto error = [](const std::string& broken) {
    return std::string(DecodeDeepCompressed(broken, "x.pdc").status().message());
  };
  std::string other = bytes;
  other[8] = 2;
  EXPECT_EQ(error(other), "x.pdc: not a valid .pdc file: it is of version 2; version 1 can be read");
  EXPECT_EQ(error("PK\x03\x04 and so on"),
            "x.pdc: not a valid .pdc file: it does not begin as one; //tools:deep_compress makes such files of "
            "checkpoints");
  other = bytes;
  other.back() = static_cast<char>(other.back() ^ 1);
  EXPECT_EQ(
      error(other),
      "x.pdc: not a valid .pdc file: the section of tensor \"d\" does not have its checksum: the file was changed "
      "or damaged; copy or make it again");
  other = bytes;
  other[30] = static_cast<char>(other[30] ^ 1);
  EXPECT_THAT(error(other), HasSubstr("its header does not have its checksum"));
  EXPECT_THAT(error(bytes + "x"), HasSubstr("bytes, "));
}

// Without checksums, as a hostile file could have right ones: whatever byte is changed, the file is refused or read to
// tensors, within the limits.
TEST(DeepCompressedTest, HostileBytesAreRefusedOrRead) {
  const std::string bytes = SmallFile();
  DecodeLimits limits;
  limits.ignore_checksums = true;
  limits.decoded_bytes = 1 << 20;
  int read = 0, refused = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int change = 1; change < 256; ++change) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ change);
      const absl::StatusOr<Safetensors> file = DecodeDeepCompressed(changed, "x.pdc", limits);
      file.ok() ? ++read : ++refused;
      if (!file.ok()) ASSERT_THAT(std::string(file.status().message()), HasSubstr("x.pdc: not a valid"));
    }
  }
  EXPECT_GT(read, 1000);
  EXPECT_GT(refused, 1000);
}

std::string CorpusFile(const std::string& name) {
  const absl::StatusOr<std::string> bytes = ReadFile("ml/deep_compression/deep_compressed_corpus/" + name);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : "";
}

// tools/reference/pdc_files.py writes the format by a second implementation.
TEST(DeepCompressedTest, DecodesWhatPythonWrote) {
  const absl::StatusOr<Safetensors> decoded = DecodeDeepCompressed(CorpusFile("written_by_python.pdc"), "python.pdc");
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  const absl::StatusOr<Safetensors> wanted = ReadSafetensors("ml/deep_compression/written_by_python.safetensors");
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  EXPECT_EQ(wanted->tensors.size(), 11u);
  ExpectSame(*decoded, *wanted);
}

// It also writes files that are wrong in one place each, with right checksums.
TEST(DeepCompressedTest, RefusesWhatPythonBroke) {
  const std::pair<const char*, const char*> cases[] = {
      {"empty", "it is cut off: it has 0 bytes"},
      {"version_2", "it is of version 2; version 1 can be read"},
      {"cut_off", "tensor \"steps\": is cut off: its section has 8 bytes, 0 are there"},
      {"metadata_of_a_megabyte", "its metadata have 1048576 bytes, in "},
      {"metadata_that_end_within_an_entry", "its metadata end "},
      {"header_of_exabytes", "it is cut off: its header has 9223372036854775808 bytes, "},
      {"shape_that_overflows", "tensor \"conv.weight\": its shape has more than 2^40 elements"},
      {"zeros_of_a_terabyte", "its tensors take 10995116"},
      {"zeros_of_200_megabytes", "its tensors take 209716"},
      {"too_few_weights", "tensor \"alone.weight\": it has 3 entries; its shape has 2 weights"},
      {"a_place_behind_the_last", "tensor \"alone.weight\": entry 2 is weight 23; its shape has 20"},
      {"layer_that_is_int64", "tensor \"zero.weight\": is stored as weights or as a mask, but is no float32"},
      {"storage_9", "tensor \"zero.weight\": is stored in way 9; there are 0 to 4"},
      {"mask_of_no_weight", "tensor \"filters.mask\": \"filters.weight\" is not in the file"},
      {"mask_of_other_shape", "tensor \"conv.mask\": is [144], but \"conv.weight\" is [8, 2, 3, 3]"},
      {"mask_exceptions_behind_the_end", "tensor \"conv.mask\": place 0 of its exceptions lies after its last element"},
      {"mask_with_bits_after_its_end", "tensor \"filters.mask\": bits are set after the end of its mask"},
      {"bool_of_2", "tensor \"flags\": is bool, and has a byte other than 0 and 1"},
      {"codebook_that_descends", "tensor \"conv.weight\": value 1 of its codebook, -1, is not above the one before it"},
      {"symbol_that_is_none", "the table of its code of indices has symbol 131071 alone; there are 9"},
      {"code_that_is_not_complete", "the table of its code of indices has lengths that are no complete code"},
      {"gap_bits_17", "tensor \"conv.weight\": its gaps have 17 bits; must have 1 to 16"},
      {"last_entry_is_a_filler", "tensor \"alone.weight\": its last entry is a filler, which nothing follows"},
  };
  for (const auto& [file, message] : cases) {
    const absl::Status status = DecodeDeepCompressed(CorpusFile(file), "x.pdc").status();
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("x.pdc: not a valid .pdc file: "), HasSubstr(message)))
        << file;
  }
}

// Sizes that a header claims are refused before memory is allocated for them.
TEST(DeepCompressedTest, ClaimedSizesAreLimited) {
  Safetensors file;
  file.tensors["w.weight"] = at::zeros({1 << 6, 1 << 12});
  const std::string bytes = Encode(file).bytes;
  DecodeLimits limits;
  limits.ignore_checksums = true;
  limits.decoded_bytes = 1 << 19;
  EXPECT_THAT(std::string(DecodeDeepCompressed(bytes, "x.pdc", limits).status().message()),
              HasSubstr("its tensors take 1048576 bytes; at most 524288 are allowed for a .pdc file of"));
  // The name's end, type 1, two sizes: 64 and 4096 as 0x40 and 0x80 0x20.
  const size_t shape = bytes.find("w.weight") + 8;
  ASSERT_EQ(bytes.substr(shape, 5), std::string("\x01\x02\x40\x80\x20", 5));
  std::string large = bytes;
  large.replace(shape + 2, 1, "\x7f");
  limits = {};
  limits.ignore_checksums = true;
  EXPECT_TRUE(DecodeDeepCompressed(large, "x.pdc", limits).ok());
  large = bytes;
  large.replace(shape + 1, 4, "\x08\xff\xff\xff\x7f");  // eight sizes, of which the bytes that follow are some
  const absl::Status status = DecodeDeepCompressed(large, "x.pdc", limits).status();
  EXPECT_FALSE(status.ok());
}

}  // namespace
}  // namespace prunelab
