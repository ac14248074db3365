// Runs //tools:import as a user would, and the programs that read an ONNX file in place of a checkpoint.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/onnx/testing/onnx_writer.h"
#include "ml/safetensors/safetensors.h"
#include "tools/run_program.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A convolution whose weights lie beside the file, ReLU, a global average and a linear layer, of 1x8x8 pixels.
class ImportTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = FreshFolder("import_test");
    const at::Tensor weight = at::linspace(-1, 1, 36).reshape({4, 1, 3, 3}),
                     fc = at::linspace(-1, 1, 40).reshape({10, 4});
    OnnxWriter onnx({1, 8, 8});
    std::string x = onnx.Node("Conv", {"images", onnx.Tensor(weight, "conv.weight")}, {}, 1, "conv");
    x = onnx.Node("Flatten", {onnx.Node("GlobalAveragePool", {onnx.Node("Relu", {x})})});
    onnx.Output(onnx.Node("Gemm", {x, onnx.Tensor(fc, "fc.weight")}, {{"transB", 1}}));
    onnx::TensorProto* stored = onnx.model().mutable_graph()->mutable_initializer(0);
    ASSERT_TRUE(WriteFileAtomically(At("m.onnx.data"), stored->raw_data()).ok());
    stored->clear_raw_data();
    stored->set_data_location(onnx::TensorProto::EXTERNAL);
    onnx::StringStringEntryProto* location = stored->add_external_data();
    location->set_key("location");
    location->set_value("m.onnx.data");
    ASSERT_TRUE(WriteFileAtomically(At("m.onnx"), onnx.Bytes()).ok());

    Safetensors images;
    images.tensors["images"] = at::linspace(-2, 3, 128).reshape({2, 1, 8, 8});
    ASSERT_TRUE(WriteSafetensors(At("x.safetensors"), images).ok());
    wanted_ = at::matmul(at::relu(at::conv2d(images.tensors["images"], weight)).mean({2, 3}), fc.t());
  }

  std::string At(const std::string& name) const { return JoinPath(folder_, name); }

  void ExpectLogits(const std::string& checkpoint) const {
    const ProgramResult result =
        RunProgram("tools/evaluate",
                   {"--checkpoint=" + checkpoint, "--input=" + At("x.safetensors"), "--output=" + At("y.safetensors")});
    ASSERT_EQ(result.status, 0) << result.err;
    const absl::StatusOr<Safetensors> file = ReadSafetensors(At("y.safetensors"));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_TRUE(at::allclose(file->tensors.at("logits"), wanted_, 1e-5, 1e-5));
  }

  std::string folder_;
  at::Tensor wanted_;
};

TEST_F(ImportTest, WritesACheckpoint) {
  const ProgramResult result =
      RunProgram("tools/import", {"--onnx=" + At("m.onnx"), "--output=" + At("m.safetensors")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("conv2d"), HasSubstr("images 1x8x8, 76 parameters"),
                                HasSubstr("wrote " + At("m.safetensors"))));
  ExpectLogits(At("m.safetensors"));
}

TEST_F(ImportTest, ProgramsReadTheFileItself) {
  ExpectLogits(At("m.onnx"));
  const ProgramResult inspected = RunProgram("tools/inspect", {"--checkpoint=" + At("m.onnx")});
  ASSERT_EQ(inspected.status, 0) << inspected.err;
  EXPECT_THAT(inspected.out, AllOf(HasSubstr("conv"), HasSubstr("4x1x3x3")));
  const ProgramResult compressed = RunProgram(
      "tools/compress", {"--checkpoint=" + At("m.onnx"), "--output=" + At("small.safetensors"), "--latency=false"});
  ASSERT_EQ(compressed.status, 0) << compressed.err;
  ExpectLogits(At("small.safetensors"));
}

TEST_F(ImportTest, AConfigStartsFromIt) {
  ASSERT_TRUE(WriteFileAtomically(At("c.textproto"), absl::StrCat(R"(name: "c" base {
      dataset { [type.googleapis.com/prunelab.Digits] {} }
      initial_weights: ")",
                                                                  At("m.onnx"), R"("
      training { epochs: 1 batch_size: 64 sgd { learning_rate: 0.01 } }
      pruning { [type.googleapis.com/prunelab.NoPruning] {} } }
      seeds { first: 1 count: 1 })"))
                  .ok());
  const ProgramResult result =
      RunProgram("experiments/ablation", {"--config=" + At("c.textproto"), "--output=" + At("runs"), "--dry_run"});
  EXPECT_EQ(result.status, 0) << result.err;
  // Weights that are gone are named.
  ASSERT_EQ(remove(At("m.onnx.data").c_str()), 0);
  const ProgramResult gone =
      RunProgram("experiments/ablation", {"--config=" + At("c.textproto"), "--output=" + At("runs"), "--dry_run"});
  EXPECT_EQ(gone.status, 2);
  EXPECT_THAT(gone.err, AllOf(HasSubstr("initial_weights: "), HasSubstr("external data \"m.onnx.data\"")));
}

TEST_F(ImportTest, Refusals) {
  const auto refusal = [&](const std::vector<std::string>& arguments) {
    const ProgramResult result = RunProgram("tools/import", arguments);
    EXPECT_EQ(result.status, 2);
    return result.err;
  };
  EXPECT_THAT(refusal({}), HasSubstr("give both --onnx="));
  EXPECT_THAT(refusal({"--onnx=" + At("no.onnx"), "--output=" + At("n")}), HasSubstr("no.onnx: no such file"));
  EXPECT_THAT(refusal({"--onnx=" + At("m.onnx"), "--output=" + At("m.onnx")}), HasSubstr("--output"));
  ASSERT_TRUE(WriteFileAtomically(At("bad.onnx"), "no model").ok());
  EXPECT_THAT(refusal({"--onnx=" + At("bad.onnx"), "--output=" + At("n")}), HasSubstr("bad.onnx: is no ONNX model"));
  EXPECT_FALSE(PathExists(At("n")));
}

}  // namespace
}  // namespace prunelab
