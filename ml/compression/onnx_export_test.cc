// Exported networks pass ONNX's own checker and shape inference, and contain the weights that they came from.
// tools/reference/onnx_runtime.py compares their logits in onnxruntime.
#include "ml/compression/onnx_export.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <onnx/checker.h>
#include <onnx/onnx_pb.h>
#include <onnx/shape_inference/implementation.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/testing/random_models.h"
#include "ml/models/mobilenet_v2.h"
#include "ml/models/resnet_cifar.h"
#include "ml/models/vgg.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// The model, after the checks that every export must pass.
onnx::ModelProto Checked(const WeightedNetwork& network) {
  onnx::ModelProto model;
  EXPECT_TRUE(model.ParseFromString(ToOnnx(network)));
  EXPECT_NO_THROW(onnx::checker::check_model(model));
  EXPECT_NO_THROW(onnx::shape_inference::InferShapes(model));
  EXPECT_EQ(model.opset_import(0).version(), 17);
  EXPECT_EQ(model.graph().input(0).type().tensor_type().shape().dim(0).dim_param(), "batch");
  EXPECT_EQ(model.graph().output(0).type().tensor_type().shape().dim(0).dim_param(), "batch");
  return model;
}

template <typename Parameters>
NetworkInfo Build(absl::StatusOr<Network> (*create)(const Parameters&, const ImageDefaults&), const std::string& text) {
  Parameters parameters;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &parameters));
  const absl::StatusOr<Network> network = create(parameters, {});
  EXPECT_TRUE(network.ok()) << network.status();
  return *NetworkInfo::Create(*network);
}

void CheckFamily(const NetworkInfo& info) {
  for (const MaskKind kind : kMaskKinds) {
    SCOPED_TRACE(absl::StrCat("masks ", static_cast<int>(kind)));
    Model model = RandomModel(info, at::kFloat, 7);
    SetRandomMasks(model, kind, 11);
    absl::StatusOr<WeightedNetwork> network = ToWeightedNetwork(model);
    ASSERT_TRUE(network.ok());
    Checked(*network);
    CompressionOptions options;
    options.fold_batch_norm = kind == MaskKind::kUniform;
    Compress(*network, options);
    const onnx::ModelProto small = Checked(*network);
    // Each parameter exists, value for value; constants have their full size.
    std::map<std::string, const onnx::TensorProto*> stored;
    for (const onnx::TensorProto& tensor : small.graph().initializer()) stored[tensor.name()] = &tensor;
    for (const auto& [name, tensor] : network->tensors) {
      if (!tensor.is_floating_point() || name.find(".value") != std::string::npos) continue;
      ASSERT_EQ(stored.count(name), 1) << name;
      const std::string& raw = stored[name]->raw_data();
      ASSERT_EQ(raw.size(), tensor.nbytes()) << name;
      EXPECT_EQ(raw, std::string(static_cast<const char*>(tensor.contiguous().data_ptr()), tensor.nbytes())) << name;
    }
  }
}

TEST(OnnxExportTest, ResNet) { CheckFamily(Build(CreateResNetCifar, "depth: 8 width: 4 image_size: 9")); }

TEST(OnnxExportTest, ParameterFreeShortcuts) {
  CheckFamily(Build(CreateResNetCifar, "depth: 8 width: 4 image_size: 8 shortcut: PARAMETER_FREE"));
}

TEST(OnnxExportTest, Vgg) { CheckFamily(Build(CreateVgg, "depth: 11 width: 2")); }

TEST(OnnxExportTest, MobileNetV2) {
  CheckFamily(Build(CreateMobileNetV2, "stem: CIFAR width_multiplier: 0.2 image_size: 12"));
}

TEST(OnnxExportTest, NetworksOfAllOperators) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    Model model = RandomModel(*NetworkInfo::Create(RandomNetwork(seed)), at::kFloat, seed);
    SetRandomMasks(model, MaskKind::kUniform, seed);
    WeightedNetwork network = *ToWeightedNetwork(model);
    Checked(network);
    Compress(network, {});
    Checked(network);
  }
}

TEST(OnnxExportTest, DropoutIsLeftOutAndTheOutputKeepsItsName) {
  NetworkWriter net;
  net.Image(2, 5, 5);
  net.Dropout("first", "image", 0.1, Dropout::IMAGE);
  net.Relu("relu", net.Conv("conv", "first", {3, 3, 1, 1}));
  net.Dropout("again", net.Dropout("drop", net.Flatten("flat", "relu"), 0.3), 0.2);
  net.Linear("fc", "again", 2);
  net.Dropout("last", "fc", 0.1);
  const onnx::ModelProto model =
      Checked(*ToWeightedNetwork(RandomModel(*NetworkInfo::Create(net.Take()), at::kFloat, 1)));
  std::string nodes;
  for (const onnx::NodeProto& node : model.graph().node()) {
    absl::StrAppend(&nodes, node.op_type(), "(", node.input(0), ") ");
  }
  EXPECT_EQ(nodes, "Conv(images) Relu(conv.output) Flatten(relu.output) Gemm(flat.output) Identity(fc.output) ");
  EXPECT_EQ(model.graph().output(0).name(), model.graph().node(4).output(0));
}

TEST(OnnxExportTest, TheCheckerSeesWhatIsWrong) {
  absl::StatusOr<WeightedNetwork> network =
      ToWeightedNetwork(RandomModel(Build(CreateResNetCifar, "depth: 8 width: 2 image_size: 8"), at::kFloat, 1));
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(ToOnnx(*network)));
  model.mutable_graph()->mutable_node(3)->set_input(0, "nobody");
  EXPECT_ANY_THROW(onnx::checker::check_model(model));
}

}  // namespace
}  // namespace prunelab
