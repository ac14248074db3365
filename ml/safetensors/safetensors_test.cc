#include "ml/safetensors/safetensors.h"

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
      {"", "it is empty"},
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
      {WithHeader(R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", four), "dtype must be a string"},
      {WithHeader(R"({"a":{"dtype":"Q7","shape":[1],"data_offsets":[4,0]}})", four), "[4, 0] run backwards"},
      {WithHeader(R"({"a":{"dtype":"Q7","shape":[1],"data_offsets":[0,8]}})", four), "is truncated"},
      {WithHeader(R"({"a":{"dtype":"U16","shape":[1],"data_offsets":[0,4]}})", four), "do not hold the 2 bytes"},
      {WithHeader(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", "ab"), "fill no whole byte"},
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

// The format's types and those that it may add: their positions are checked, their bytes skipped.
TEST(SafetensorsTest, TypesThatAreNotReadArePassedOver) {
  const std::string bytes =
      WithHeader(R"({"ema":{"dtype":"U16","shape":[2],"data_offsets":[4,8]},"f8":{"dtype":"F8_E4M3","shape":[1,3],)"
                 R"("data_offsets":[8,11]},"four":{"dtype":"F4","shape":[2],"data_offsets":[19,20]},)"
                 R"("later":{"dtype":"Q7","shape":[5],"data_offsets":[20,24]},"phase":{"dtype":"C64","shape":[],)"
                 R"("data_offsets":[11,19]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                 std::string("\0\0\x80\x3f", 4) + std::string(20, 'x'));
  const absl::StatusOr<Safetensors> read = ParseSafetensors(bytes, "x");
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->tensors.size(), 1u);
  EXPECT_EQ(read->tensors.at("w").item<float>(), 1);
  std::string passed_over;
  for (const auto& [name, entry] : read->passed_over) {
    passed_over += name + " " + entry.dtype_name + " " + std::to_string(entry.shape.size()) + ", ";
    EXPECT_EQ(entry.dtype, at::ScalarType::Undefined);
  }
  EXPECT_EQ(passed_over, "ema U16 1, f8 F8_E4M3 2, four F4 1, later Q7 1, phase C64 0, ");
  const std::string path = testing::TempDir() + "/types.safetensors";
  std::ofstream(path, std::ios::binary) << bytes;
  const absl::StatusOr<Safetensors> file = ReadSafetensors(path), wanted = ReadSafetensors(path, {"later"});
  ASSERT_TRUE(file.ok() && wanted.ok());
  EXPECT_EQ(file->tensors.size(), 1u);
  EXPECT_EQ(file->passed_over.size(), 5u);
  EXPECT_EQ(wanted->tensors.size(), 0u);
  EXPECT_EQ(wanted->passed_over.count("later"), 1u);
}

// What other programs write, or servers send, instead of a safetensors file is named, with what to do about it.
TEST(SafetensorsTest, OtherKindsOfFilesAreNamed) {
  std::string zip("PK\x03\x04", 4), arrays = zip;
  zip.resize(26, '\0');
  arrays.resize(26, '\0');
  zip += std::string("\x10\0\0\0", 4) + "archive/data.pklFB";
  arrays += std::string("\x0c\0\0\0", 4) + "weights0.npy" + std::string(100, '\0');
  const struct {
    std::string bytes;
    const char *what, *remedy;
  } cases[] = {
      {zip, "a PyTorch file", "safetensors.torch.save_file(torch.load(\"w.pth\", map_location=\"cpu\")"},
      {std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02", 17), "a PyTorch file",
       "torch.load(...)[\"state_dict\"]"},
      {"\x80\x04\x95\x10\0\0\0\0", "a Python pickle", "torch.load(\"w.pth\""},
      {arrays, "a NumPy archive (.npz)", "dict(numpy.load(\"w.pth\"))"},
      {"<!DOCTYPE html><html><body>404 Not Found</body></html>\n", "a web page", "fetch the .safetensors file itself"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git LFS pointer", "git lfs pull"},
      {"\x1f\x8b\x08\0\0\0\0\0\0\x03{", "a gzip archive", "unpack it"},
      {"\x08\x08\x12\x07pytorch\x1a\x05", "an ONNX file", "bazel run //tools:import"},
      {"\x89HDF\r\n\x1a\n\0\0\0\0", "an HDF5 file (.h5)", "safetensors.numpy.save_file"},
      {"{\"weight_map\": {}}", "JSON text", "join those files"},
      {"Entry not found", "text that begins with \"Entry not found\"", "fetch the .safetensors file itself"},
      {"", "empty", "may have been cut short"},
      {std::string(1000, '\0'), "zeros", "may have been cut short"},
  };
  for (const auto& c : cases) {
    const std::string path = testing::TempDir() + "/w.pth";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << c.bytes;
    for (const absl::Status& status : {ParseSafetensors(c.bytes, "w.pth").status(), ReadSafetensors(path).status(),
                                       ReadSafetensorsHeader(path).status()}) {
      EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("w.pth: not a valid safetensors file: it is "),
                                                       HasSubstr(c.what), HasSubstr(c.remedy)));
    }
  }
}

// With any one wrong byte in the header it is read or refused; sanitizers watch.
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
  ASSERT_EQ(truncate(path.c_str(), int64_t{200} << 30), 0);  // holes: takes no space on the disk
  EXPECT_THAT(std::string(ReadSafetensors(path).status().message()),
              AllOf(HasSubstr(path), HasSubstr("at most 100000000 are allowed")));
  {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << WithHeader(R"({"a":{"dtype":"F32","shape":[34359738368],"data_offsets":[0,137438953472]}})", "abcd");
  }
  EXPECT_THAT(std::string(ReadSafetensors(path).status().message()), HasSubstr("is truncated: its tensors take"));
  EXPECT_THAT(std::string(ReadSafetensorsHeader(path).status().message()), HasSubstr("is truncated"));
  EXPECT_EQ(ReadSafetensors("/no/such.safetensors").status(),
            absl::NotFoundError("/no/such.safetensors: no such file"));
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
