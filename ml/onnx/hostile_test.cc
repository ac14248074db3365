// Files that are no networks, or were made to do harm, are refused with a reason, and take neither memory nor time.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/onnx/testing/onnx_writer.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Ints = std::vector<int64_t>;

std::string Refusal(const std::string& bytes, const std::string& folder = "") {
  const absl::StatusOr<ImportedNetwork> imported = ImportOnnxBytes(bytes, "m.onnx", folder);
  EXPECT_FALSE(imported.ok());
  return std::string(imported.status().message());
}

// The refusal of a model with one node.
std::string RefusalOf(const std::string& op, const std::vector<std::string>& inputs,
                      const std::vector<OnnxAttributeValue>& attributes,
                      const std::function<void(OnnxWriter&)>& change = {}) {
  OnnxWriter onnx({3, 4, 5});
  if (change) change(onnx);
  onnx.OutputMaps(onnx.Node(op, inputs, attributes, 1, "it"));
  return Refusal(onnx.Bytes());
}

TEST(HostileTest, WhatIsNoModel) {
  EXPECT_EQ(Refusal("no model"), "m.onnx: is no ONNX model, or not a whole one");
  EXPECT_THAT(Refusal(""), StartsWith("m.onnx: is no ONNX model"));
  OnnxWriter whole({3, 4, 5});
  whole.OutputMaps("images");
  const std::string bytes = whole.Bytes();
  EXPECT_THAT(Refusal(bytes.substr(0, bytes.size() - 3)), StartsWith("m.onnx: "));
  OnnxWriter old({3, 4, 5}, 8);
  old.OutputMaps("images");
  EXPECT_THAT(Refusal(old.Bytes()), HasSubstr("is of opset 8; at least 9 is read"));
}

TEST(HostileTest, OperatorsThatAreNotKnown) {
  EXPECT_THAT(RefusalOf("Abs", {"images"}, {}),
              AllOf(StartsWith("m.onnx: node \"it\" (Abs): the operator is not known here; known are "),
                    HasSubstr("BatchNormalization"), HasSubstr("Conv, ")));
  EXPECT_THAT(RefusalOf("If", {"images"}, {}), HasSubstr("(If): the operator is not known"));
  OnnxWriter domain({3, 4, 5});
  const std::string y = domain.Node("Conv", {"images"});
  domain.model().mutable_graph()->mutable_node(0)->set_domain("com.microsoft");
  domain.OutputMaps(y);
  EXPECT_THAT(Refusal(domain.Bytes()), HasSubstr("(com.microsoft.Conv): the operator is not known"));
}

TEST(HostileTest, CyclesAndWhatIsMissing) {
  OnnxWriter cycle({3, 4, 5});
  cycle.Node("Add", {"images", "b_out"}, {}, 1, "a");
  cycle.Node("Relu", {"a_out"}, {}, 1, "b");
  cycle.OutputMaps("b_out");
  EXPECT_THAT(Refusal(cycle.Bytes()), HasSubstr("node \"a\" (Add): reads \"b_out\", which no earlier node computes"));
  EXPECT_THAT(RefusalOf("Relu", {"nothing"}, {}), HasSubstr("reads \"nothing\""));
  EXPECT_THAT(RefusalOf("Relu", {}, {}), HasSubstr("has no input 0"));
  EXPECT_THAT(RefusalOf("Conv", {"images"}, {}), HasSubstr("has no input 1"));
  EXPECT_THAT(RefusalOf("Conv", {"images", "images"}, {}), HasSubstr("depends on the images; must be an initializer"));
  OnnxWriter twice({3, 4, 5});
  twice.Node("Relu", {"images"}, {}, 1, "a");
  twice.Node("Relu", {"images"}, {}, 1, "a");
  twice.OutputMaps("a_out");
  EXPECT_THAT(Refusal(twice.Bytes()), HasSubstr("the value \"a_out\" is defined twice"));
  OnnxWriter output({3, 4, 5});
  output.Output("nothing");
  EXPECT_THAT(Refusal(output.Bytes()), HasSubstr("output \"nothing\" is computed by no node"));
}

TEST(HostileTest, Images) {
  const auto refusal = [](const std::function<void(onnx::ValueInfoProto&)>& change) {
    OnnxWriter onnx({3, 4, 5});
    change(*onnx.model().mutable_graph()->mutable_input(0));
    onnx.OutputMaps(onnx.Node("Relu", {"images"}));
    return Refusal(onnx.Bytes());
  };
  const auto dimension = [](onnx::ValueInfoProto& images, int d) {
    return images.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(d);
  };
  EXPECT_THAT(refusal([&](auto& images) { dimension(images, 2)->set_dim_param("h"); }),
              HasSubstr("input \"images\": dimension 2 is \"h\"; channels, height and width must be numbers"));
  EXPECT_THAT(refusal([&](auto& images) { dimension(images, 1)->set_dim_value(-3); }), HasSubstr("dimension 1 is -3"));
  EXPECT_THAT(refusal([&](auto& images) { dimension(images, 0)->set_dim_value(int64_t{1} << 60); }),
              HasSubstr("dimension 0 is 1152921504606846976; must be from 1 to 1048576"));
  EXPECT_THAT(refusal([&](auto& images) { images.mutable_type()->mutable_tensor_type()->set_elem_type(7); }),
              HasSubstr("must be a tensor of floating numbers"));
  OnnxWriter two({3, 4, 5});
  *two.model().mutable_graph()->add_input() = two.model().graph().input(0);
  two.model().mutable_graph()->mutable_input(1)->set_name("mask");
  two.OutputMaps("images");
  EXPECT_THAT(Refusal(two.Bytes()), HasSubstr("has 2 inputs: \"images\", \"mask\"; must have one, the images"));
}

TEST(HostileTest, Tensors) {
  const auto refusal = [](const std::function<void(onnx::TensorProto&)>& change) {
    OnnxWriter onnx({3, 4, 5});
    const std::string weight = onnx.Tensor(at::ones({2, 3, 1, 1}), "w");
    change(*onnx.model().mutable_graph()->mutable_initializer(0));
    onnx.OutputMaps(onnx.Node("Conv", {"images", weight}));
    return Refusal(onnx.Bytes());
  };
  EXPECT_THAT(refusal([](auto& w) { w.set_dims(0, int64_t{1} << 60); }),
              HasSubstr("tensor \"w\": has the sizes [1152921504606846976, 3, 1, 1]: too many elements"));
  EXPECT_THAT(refusal([](auto& w) { w.set_dims(0, int64_t{1} << 38); }), HasSubstr("has 24 bytes; its type and sizes"));
  EXPECT_THAT(refusal([](auto& w) { w.set_dims(0, -2); }), HasSubstr("must not be negative"));
  EXPECT_THAT(refusal([](auto& w) { w.mutable_raw_data()->pop_back(); }),
              HasSubstr("has 23 bytes; its type and sizes [2, 3, 1, 1] need 24"));
  EXPECT_THAT(refusal([](auto& w) { w.clear_raw_data(); }), HasSubstr("has 0 numbers; its sizes [2, 3, 1, 1] need 6"));
  EXPECT_THAT(refusal([](auto& w) { w.set_data_type(onnx::TensorProto::STRING); }), HasSubstr("is of ONNX's type 8"));
  EXPECT_THAT(refusal([](auto& w) {
                w.set_dims(1, 0);
                w.clear_raw_data();
              }),
              HasSubstr("its weights are [2, 0, 1, 1]"));
  EXPECT_THAT(refusal([](auto& w) {
                for (int i = 0; i < 40; ++i) w.add_dims(1);
              }),
              HasSubstr("has 44 dimensions"));
}

TEST(HostileTest, ComputedConstantsAreBounded) {
  const auto folded = [](const std::function<std::string(OnnxWriter&)>& write) {
    OnnxWriter onnx({3, 4, 5});
    onnx.OutputMaps(onnx.Node("Add", {"images", write(onnx)}));
    return Refusal(onnx.Bytes());
  };
  const int64_t large = int64_t{1} << 40;
  EXPECT_THAT(folded([&](OnnxWriter& onnx) { return onnx.Node("ConstantOfShape", {onnx.Ints({large})}); }),
              HasSubstr("computes a constant of the sizes [1099511627776]: more than 67108864 elements"));
  EXPECT_THAT(folded([&](OnnxWriter& onnx) {
                return onnx.Node("Expand", {onnx.Number(1), onnx.Ints({large, large, large})});
              }),
              HasSubstr("makes too many elements"));
  EXPECT_THAT(folded([&](OnnxWriter& onnx) {
                return onnx.Node("Range", {onnx.Number(0), onnx.Number(1e12), onnx.Number(1)});
              }),
              HasSubstr("makes too many numbers"));
  EXPECT_THAT(folded([&](OnnxWriter& onnx) {
                const std::string column = onnx.Tensor(at::ones({1 << 14, 1}, at::kDouble));
                return onnx.Node("Mul", {column, onnx.Tensor(at::ones({1, 1 << 14}, at::kDouble))});
              }),
              HasSubstr("more than 67108864 elements"));
  EXPECT_THAT(folded([&](OnnxWriter& onnx) {  // each is small enough, but they are many
                std::string x = onnx.Tensor(at::ones({1 << 11, 1 << 11}, at::kFloat));
                for (int k = 0; k < 100; ++k) x = onnx.Node("Neg", {x});
                return x;
              }),
              HasSubstr("the graph's computed constants have too many elements"));
  EXPECT_THAT(folded([&](OnnxWriter& onnx) {
                return onnx.Node("Div", {onnx.Ints({1}), onnx.Ints({0})});
              }),
              HasSubstr("divides integers by 0"));
  EXPECT_THAT(folded([&](OnnxWriter& onnx) {
                return onnx.Node("Div", {onnx.Ints({INT64_MIN}), onnx.Ints({-1})});
              }),
              HasSubstr("out of their range"));
  EXPECT_THAT(folded([&](OnnxWriter& onnx) {
                return onnx.Node("Reshape", {onnx.Ints({1, 2}), onnx.Ints({-1, -1})});
              }),
              HasSubstr("must not be negative"));
  EXPECT_THAT(folded([&](OnnxWriter& onnx) {
                return onnx.Node("Gather", {onnx.Ints({1, 2}), onnx.Ints({5})});
              }),
              HasSubstr("cannot be computed: "));
  EXPECT_THAT(folded([&](OnnxWriter& onnx) {
                return onnx.Node("Tile", {onnx.Ints({1, 2}), onnx.Ints({INT64_MAX})});
              }),
              HasSubstr("too many elements"));
}

TEST(HostileTest, ShapesThatDoNotFit) {
  const auto ints = [](const Ints& values) {
    return [values](OnnxWriter& onnx) { onnx.Tensor(at::tensor(values, at::kLong), "i"); };
  };
  EXPECT_THAT(RefusalOf("Reshape", {"images", "i"}, {}, ints({-1, 7})), HasSubstr("cannot make [-1, 7]"));
  EXPECT_THAT(RefusalOf("Transpose", {"images"}, {{"perm", Ints{0, 1, 2}}}), HasSubstr("orders 3 dimensions"));
  EXPECT_THAT(RefusalOf("Transpose", {"images"}, {{"perm", Ints{0, 1, 1, 2}}}), HasSubstr("names an axis twice"));
  EXPECT_THAT(RefusalOf("Transpose", {"images"}, {{"perm", Ints{0, 1, 2, 9}}}), HasSubstr("has the axis 9"));
  EXPECT_THAT(RefusalOf("Gather", {"images", "i"}, {{"axis", 1}}, ints({3})), HasSubstr("takes 3 of 3"));
  EXPECT_THAT(RefusalOf("Gather", {"images", "i"}, {{"axis", 3}}, ints({3})), HasSubstr("only channels are known"));
  EXPECT_THAT(RefusalOf("Gather", {"images", "i"}, {{"axis", 1}}, ints(Ints((1 << 20) + 1, 0))),
              HasSubstr("makes more than 1048576 channels"));
  EXPECT_THAT(RefusalOf("Concat", {"images", "images"}, {{"axis", 2}}), HasSubstr("only channels can be joined"));
  EXPECT_THAT(RefusalOf("Split", {"images", "i"}, {{"axis", 1}}, ints({1})),
              HasSubstr("splits 3 into [1] for 1 outputs"));
  EXPECT_THAT(RefusalOf("MaxPool", {"images"}, {{"kernel_shape", Ints{9, 9}}}), HasSubstr("node \"it\" (MaxPool): "));
  EXPECT_THAT(RefusalOf("MaxPool", {"images"}, {{"kernel_shape", Ints{2, int64_t{1} << 60}}}),
              HasSubstr("kernel_shape is [2, 1152921504606846976]"));
  EXPECT_THAT(RefusalOf("MaxPool", {"images"}, {{"kernel_shape", Ints{2}}}), HasSubstr("must be 2 numbers"));
  EXPECT_THAT(RefusalOf("MaxPool", {"images"}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{0, 1}}}),
              HasSubstr("strides is [0, 1]"));
  EXPECT_THAT(RefusalOf("Pad", {"images", "i"}, {}, ints({0, 0, -1, 0, 0, 0, 0, 0})), HasSubstr("pads by -1"));
  EXPECT_THAT(RefusalOf("Pad", {"images", "i"}, {}, ints({1, 0, 0, 0, 0, 0, 0, 0})),
              HasSubstr("adds images to the batch"));
  EXPECT_THAT(RefusalOf("Slice", {"images", "i", "i", "i", "i"}, {}, ints({0})), HasSubstr("has the step 0"));
  EXPECT_THAT(RefusalOf("ReduceMean", {"images"}, {{"axes", Ints{1}}}), HasSubstr("only rows and columns are known"));
  EXPECT_THAT(RefusalOf("Softmax", {"images"}, {{"axis", 3}}), HasSubstr("over all channels alone"));
  EXPECT_THAT(RefusalOf("MatMul", {"images", "images"}, {}), HasSubstr("as attention does"));
  EXPECT_THAT(RefusalOf("Cast", {"images"}, {{"to", 7}}), HasSubstr("to the type 7"));
}

TEST(HostileTest, ParametersThatDoNotFit) {
  const auto tensor = [](at::IntArrayRef sizes) {
    const Ints copy = sizes.vec();
    return [copy](OnnxWriter& onnx) { onnx.Tensor(at::ones(copy, at::kDouble), "t"); };
  };
  EXPECT_THAT(RefusalOf("Conv", {"images", "t"}, {}, tensor({2, 4, 1, 1})),
              HasSubstr("its weight is [2, 4, 1, 1]; must be [2, 3, 1, 1]"));
  EXPECT_THAT(RefusalOf("Conv", {"images", "t"}, {{"group", 2}}, tensor({2, 3, 1, 1})),
              HasSubstr("node \"it\" (Conv): "));
  EXPECT_THAT(RefusalOf("Conv", {"images", "t"}, {{"group", 0}}, tensor({2, 3, 1, 1})),
              HasSubstr("node \"it\" (Conv): "));
  EXPECT_THAT(RefusalOf("Conv", {"images", "t"}, {}, tensor({2, 3, 1})), HasSubstr("only images of two dimensions"));
  EXPECT_THAT(RefusalOf("BatchNormalization", {"images", "t", "t", "t", "t"}, {}, tensor({4})),
              HasSubstr("must be [3]"));
  EXPECT_THAT(RefusalOf("Add", {"images", "t"}, {}, tensor({5, 3, 4, 5})), HasSubstr("meets a constant"));
  EXPECT_THAT(RefusalOf("Mul", {"images", "t"}, {}, tensor({7})), HasSubstr("node \"it\" (Mul): "));
  EXPECT_THAT(RefusalOf("Dropout", {"images", "t"}, {}, tensor({7})), HasSubstr("must be one number"));
}

// A few bytes that name large values are refused before memory is taken for them.
TEST(HostileTest, SmallFilesOfLargeValues) {
  OnnxWriter picture({1 << 20, 1, 1 << 12});
  const std::string row = picture.Tensor(at::arange(1 << 12, at::kDouble).reshape({1, 1, 1, 1 << 12}));
  picture.OutputMaps(picture.Node("Add", {"images", row}));
  EXPECT_THAT(Refusal(picture.Bytes()), HasSubstr("makes too many elements of the file's constants"));
  OnnxWriter wide({1 << 20, 1, 1});
  const std::string many = wide.Node("Concat", std::vector<std::string>(1000, "images"), {{"axis", 1}});
  wide.OutputMaps(many);
  EXPECT_THAT(Refusal(wide.Bytes()), HasSubstr("number of channels is 1048576000"));
  OnnxWriter slices({1 << 20, 1, 1});
  std::string x = "images";
  for (int k = 0; k < 1000; ++k) {
    x = slices.Node("Slice", {x, slices.Ints({-1}), slices.Ints({INT64_MIN}), slices.Ints({1}), slices.Ints({-1})});
  }
  slices.OutputMaps(x);
  EXPECT_THAT(Refusal(slices.Bytes()), HasSubstr("arranges too many channels"));
}

TEST(HostileTest, DeepAndLong) {
  // Long names are cut in messages.
  const std::string name(1 << 20, 'x');
  OnnxWriter onnx({3, 4, 5});
  onnx.OutputMaps(onnx.Node("Abs", {"images"}, {}, 1, name));
  EXPECT_LT(Refusal(onnx.Bytes()).size(), 2000);
  // Graphs within graphs, deeper than protobuf reads.
  onnx::ModelProto nested;
  onnx::GraphProto* graph = nested.mutable_graph();
  for (int k = 0; k < 200; ++k) graph = graph->add_node()->add_attribute()->mutable_g();
  EXPECT_THAT(Refusal(nested.SerializeAsString()), HasSubstr("is no ONNX model"));
  // A long chain of products is no pattern, and takes no stack.
  OnnxWriter chain({3, 4, 5});
  std::string x = "images";
  for (int k = 0; k < 20000; ++k) x = chain.Node("Mul", {x, x});
  chain.OutputMaps(x);
  EXPECT_TRUE(ImportOnnxBytes(chain.Bytes(), "chain.onnx", "").ok());
}

// A model whose weight is external.
std::string External(const std::string& location, const std::string& offset = "", const std::string& length = "") {
  OnnxWriter onnx({3, 4, 5});
  const std::string weight = onnx.Tensor(at::ones({2, 3, 1, 1}), "w");
  onnx::TensorProto* stored = onnx.model().mutable_graph()->mutable_initializer(0);
  stored->clear_raw_data();
  stored->set_data_location(onnx::TensorProto::EXTERNAL);
  const auto add = [&](const char* key, const std::string& value) {
    if (value.empty()) return;
    onnx::StringStringEntryProto* entry = stored->add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  };
  add("location", location);
  add("offset", offset);
  add("length", length);
  onnx.OutputMaps(onnx.Node("Conv", {"images", weight}));
  return onnx.Bytes();
}

TEST(HostileTest, ExternalData) {
  const std::string folder = FreshFolder("external"), outside = FreshFolder("outside");
  const std::string bytes(32, '\0');
  ASSERT_TRUE(WriteFileAtomically(JoinPath(folder, "w.data"), bytes).ok());
  ASSERT_TRUE(WriteFileAtomically(JoinPath(outside, "w.data"), bytes).ok());
  ASSERT_TRUE(CreateFolders(JoinPath(folder, "sub")).ok());
  ASSERT_EQ(symlink(JoinPath(outside, "w.data").c_str(), JoinPath(folder, "link").c_str()), 0);
  ASSERT_EQ(symlink(outside.c_str(), JoinPath(folder, "folder_link").c_str()), 0);
  ASSERT_EQ(mkfifo(JoinPath(folder, "pipe").c_str(), 0600), 0);
  ASSERT_TRUE(WriteFileAtomically(JoinPath(folder, "m.onnx"), External("w.data", "8", "24")).ok());
  EXPECT_TRUE(ImportOnnx(JoinPath(folder, "m.onnx")).ok());
  EXPECT_TRUE(ImportOnnxBytes(External("w.data", "8"), "m.onnx", folder).ok());
  EXPECT_TRUE(ImportOnnxBytes(External("./w.data", "", "24"), "m.onnx", folder).ok());

  const auto refusal = [&](const std::string& location, const std::string& offset = "",
                           const std::string& length = "24") {
    return Refusal(External(location, offset, length), folder);
  };
  EXPECT_THAT(refusal("gone"),
              StartsWith(absl::StrCat("m.onnx: tensor \"w\": external data \"gone\": is not in ", folder)));
  EXPECT_THAT(refusal(JoinPath(outside, "w.data")), HasSubstr("leads out of the folder"));
  EXPECT_THAT(refusal("../outside/w.data"), HasSubstr("leads out of the folder"));
  EXPECT_THAT(refusal("sub/../../outside/w.data"), HasSubstr("leads out of the folder"));
  EXPECT_THAT(refusal("link"), HasSubstr("is a symbolic link out of the folder"));
  EXPECT_THAT(refusal("folder_link/w.data"), HasSubstr("is a symbolic link out of the folder"));
  EXPECT_THAT(refusal("sub"), HasSubstr("must be a file"));
  EXPECT_THAT(refusal("pipe"), HasSubstr("must be a file"));
  EXPECT_THAT(refusal(""), HasSubstr("must be the name of a file"));
  EXPECT_THAT(refusal("w.data", "16"), HasSubstr("bytes 16 and 24 more are asked for, but the file has 32"));
  EXPECT_THAT(refusal("w.data", "9223372036854775807"), HasSubstr("the file has 32"));
  EXPECT_THAT(refusal("w.data", "", "9223372036854775807"), HasSubstr("the file has 32"));
  EXPECT_THAT(refusal("w.data", "-1"), HasSubstr("its external data's offset is \"-1\""));
  EXPECT_THAT(refusal("w.data", "x"), HasSubstr("its external data's offset is \"x\""));
  EXPECT_THAT(refusal("w.data", "", "20"), HasSubstr("has 20 bytes; the tensor's sizes and type need 24"));
  EXPECT_THAT(Refusal(External("w.data")), HasSubstr("a model that is no file has no files beside it"));
  EXPECT_TRUE(absl::IsNotFound(ImportOnnx(JoinPath(folder, "no.onnx")).status()));
}

TEST(HostileTest, Outputs) {
  OnnxWriter none({3, 4, 5});
  none.Node("Relu", {"images"});
  EXPECT_THAT(Refusal(none.Bytes()), HasSubstr("has no outputs"));
  OnnxWriter constant({3, 4, 5});
  constant.Output(constant.Number(3));
  EXPECT_THAT(Refusal(constant.Bytes()), HasSubstr("does not depend on the images"));
  OnnxWriter twice({3, 4, 5});
  const std::string flat = twice.Node("Flatten", {"images"});
  twice.Output(flat);
  twice.Output(flat);
  EXPECT_THAT(Refusal(twice.Bytes()), HasSubstr("is the same as an earlier output"));
}

}  // namespace
}  // namespace prunelab
