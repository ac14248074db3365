#include "ml/execution/safetensors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string WithHeader(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i) & 0xFF));
  return bytes + header + data;
}

TEST(SafetensorsTest, ReadsBackWhatItWrote) {
  Safetensors file;
  file.metadata["network"] = "node { name: \"\xC3\xA9\" }\n";
  file.tensors["a"] = at::arange(6, at::kFloat).view({2, 3});
  file.tensors["b.long"] = at::tensor({int64_t{1} << 40}, at::kLong);
  file.tensors["c.channels_last"] =
      at::arange(48, at::kDouble).view({2, 6, 2, 2}).contiguous(at::MemoryFormat::ChannelsLast);
  file.tensors["d.scalar"] = at::scalar_tensor(7, at::kLong);
  file.tensors["e.empty"] = at::zeros({0, 3});
  file.tensors["f.half"] = at::tensor({0.5, -2.0}, at::kDouble).to(at::kBFloat16);
  const std::string bytes = SerializeSafetensors(file);
  EXPECT_EQ(bytes, SerializeSafetensors(file));
  const absl::StatusOr<Safetensors> read = ParseSafetensors(bytes, "x");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->metadata, file.metadata);
  ASSERT_EQ(read->tensors.size(), file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) {
    EXPECT_EQ(read->tensors.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(read->tensors.at(name), tensor)) << name;
  }
}

// Bytes as the format's description gives them, not as the writer makes them.
TEST(SafetensorsTest, ReadsTheFormatsExample) {
  const std::string bytes =
      WithHeader(R"({"t":{"dtype":"I16","shape":[2],"data_offsets":[0,4]}})", std::string("\x01\x00\xFF\xFF", 4));
  const absl::StatusOr<Safetensors> read = ParseSafetensors(bytes, "x");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->tensors.at("t")[0].item<int>(), 1);
  EXPECT_EQ(read->tensors.at("t")[1].item<int>(), -1);
}

TEST(SafetensorsTest, RefusesWhatIsBroken) {
  const std::string four(4, '\0');
  const struct {
    std::string bytes;
    const char* message;
  } cases[] = {
      {"", "has 0 bytes"},
      {std::string("\xFF\xFF\xFF\xFF\x18\0\0\0", 8), "at most 100000000 are allowed"},
      {std::string("\x40\0\0\0\0\0\0\0{}", 10), "is truncated: its header has 64"},
      {WithHeader("[]", ""), "no JSON object"},
      {WithHeader("{\"a\":", ""), "no JSON object"},
      {WithHeader("{\"a\":1}", ""), "needs dtype, shape and data_offsets"},
      {WithHeader("{\"a\":" + std::string(5000, '[') + std::string(5000, ']') + "}", ""), "nests deeper"},
      {WithHeader("{\"a\":" + std::string(5000, '[') + "}", ""), "nests deeper"},
      {WithHeader(std::string(1000000, '['), ""), "nests deeper"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", four), "nests deeper"},
      {WithHeader(R"({"a":{"dtype":{"b":{"c":1}},"shape":[1],"data_offsets":[0,4]}})", four), "nests deeper"},
      {WithHeader(R"({"a":{"dtype":"Q7","shape":[1],"data_offsets":[0,4]}})", four), "unknown dtype \"Q7\""},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", four), "no non-negative"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", four), "too large"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", four), "do not hold the 8 bytes"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", four), "do not hold"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", four + four), "overlap or leave a hole"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                  R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                  four),
       "overlap or leave a hole"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", four),
       "is truncated: its tensors take 8"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four + "x"), "bytes after its tensors"},
      {WithHeader(R"({"__metadata__":{"a":1}})", ""), "must be a string"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                  R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                  four),
       "has \"a\" twice"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"dtype":"I32"}})", four), "\"dtype\" twice"},
      {WithHeader(R"({"__metadata__":{"b":"1","b":"2"}})", ""), "\"b\" twice"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[0,281474976710656,281474976710656],"data_offsets":[0,0]}})", ""),
       "too large"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", four), "no non-negative"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551620]}})", four),
       "two non-negative"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", four), "two non-negative"},
      {WithHeader(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],)"
                  R"("data_offsets":[2,10]}})",
                  four + four + "xx"),
       "overlap or leave a hole"},
  };
  for (const auto& c : cases) {
    const absl::StatusOr<Safetensors> read = ParseSafetensors(c.bytes, "weights.safetensors");
    ASSERT_FALSE(read.ok()) << c.message;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(c.message));
    EXPECT_THAT(std::string(read.status().message()), HasSubstr("weights.safetensors"));
  }
}

// Whatever one wrong byte of the header makes of it, it is read or refused; sanitizers watch.
TEST(SafetensorsTest, EveryByteMayBeWrong) {
  Safetensors file;
  file.metadata["k"] = "v";
  file.tensors["a"] = at::arange(6, at::kFloat).view({2, 3});
  file.tensors["b"] = at::arange(2, at::kLong);
  const std::string bytes = SerializeSafetensors(file);
  int refused = 0;
  for (size_t i = 0; i < bytes.size() - 40; ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = bytes;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      const absl::StatusOr<Safetensors> read = ParseSafetensors(bad, "x");
      if (!read.ok()) ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

// A file's header is checked against the file's size before anything of its size is read or allocated.
TEST(SafetensorsTest, FilesAreCheckedBeforeTheyAreRead) {
  const std::string path = testing::TempDir() + "/large.safetensors";
  {
    std::ofstream out(path, std::ios::binary);
    out << std::string("\xFF\xFF\xFF\xFF\x18\0\0\0", 8);  // a header of 100 GB
  }
  ASSERT_EQ(truncate(path.c_str(), int64_t{200} << 30), 0);  // holes: takes no room on the disk
  EXPECT_THAT(std::string(ReadSafetensors(path).status().message()),
              AllOf(HasSubstr(path), HasSubstr("at most 100000000 are allowed")));
  {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << WithHeader(R"({"a":{"dtype":"F32","shape":[34359738368],"data_offsets":[0,137438953472]}})", "abcd");
  }
  EXPECT_THAT(std::string(ReadSafetensors(path).status().message()), HasSubstr("is truncated: its tensors take"));
  EXPECT_THAT(std::string(ReadSafetensorsHeader(path).status().message()), HasSubstr("is truncated"));
  EXPECT_EQ(ReadSafetensors("/no/such.safetensors").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(ReadSafetensors(testing::TempDir()).status().message()), HasSubstr("is no file"));
}

TEST(SafetensorsTest, ReadsHeadersAndWhatIsWanted) {
  Safetensors file;
  file.metadata["k"] = "v";
  file.tensors["a"] = at::arange(6, at::kFloat).view({2, 3});
  file.tensors["b"] = at::arange(4, at::kLong);
  const std::string path = testing::TempDir() + "/two.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, file).ok());
  const absl::StatusOr<SafetensorsHeader> header = ReadSafetensorsHeader(path);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->metadata, file.metadata);
  EXPECT_EQ(header->tensors.at("a").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(header->tensors.at("b").dtype, at::kLong);
  const absl::StatusOr<Safetensors> all = ReadSafetensors(path), some = ReadSafetensors(path, {"b", "c"});
  ASSERT_TRUE(all.ok() && some.ok());
  EXPECT_TRUE(at::equal(all->tensors.at("a"), file.tensors["a"]));
  ASSERT_EQ(some->tensors.size(), 1u);
  EXPECT_TRUE(at::equal(some->tensors.at("b"), file.tensors["b"]));
}

TEST(SafetensorsTest, EveryTruncationIsRefused) {
  Safetensors file;
  file.tensors["a"] = at::arange(3, at::kFloat);
  const std::string bytes = SerializeSafetensors(file);
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(ParseSafetensors(bytes.substr(0, size), "x").ok()) << size;
}

}  // namespace
}  // namespace prunelab
