// Exported networks pass ONNX's own checker and shape inference, and contain the weights that they came from.
// tools/reference/onnx_runtime.py compares their logits in onnxruntime.
#include "ml/compression/onnx_export.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <onnx/checker.h>
#include <onnx/onnx_pb.h>
#include <onnx/shape_inference/implementation.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/text_format.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/plan.h"
#include "ml/models/mobilenet_v2.h"
#include "ml/models/resnet_cifar.h"
#include "ml/models/vgg.h"
#include "ml/network/network_writer.h"
#include "ml/safetensors/safetensors.h"

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

// For tools/reference/onnx_runtime.py: the model, images and what the network makes of them, if the environment names a
// folder for them in PRUNELAB_ONNX_FOLDER.
void WriteForOnnxRuntime(const WeightedNetwork& network, const onnx::ModelProto& onnx, const std::string& name) {
  const char* folder = std::getenv("PRUNELAB_ONNX_FOLDER");
  if (folder == nullptr) return;
  const std::string path = absl::StrCat(folder, "/", name);
  std::ofstream(path + ".onnx", std::ios::binary) << onnx.SerializeAsString();
  Model model = ToModel(network, at::kCPU);
  const NodeShape& shape = model.info().input_shape();
  Safetensors file;
  file.tensors["images"] = at::linspace(-1, 1, 3 * shape.channels * shape.height * shape.width)
                               .mul(377)
                               .sin()
                               .mul(1.5)
                               .view({3, shape.channels, shape.height, shape.width});
  const at::NoGradGuard no_gradients;
  const ForwardResult result = ReferencePlan().Forward(model, file.tensors["images"], {});
  for (size_t k = 0; k < result.results.size(); ++k) {
    file.tensors[onnx.graph().output(static_cast<int>(k)).name()] = result.results[k].contiguous();
  }
  ASSERT_TRUE(WriteSafetensors(path + ".safetensors", file).ok());
}

TEST(OnnxExportTest, NetworksOfAllOperators) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    Model model = RandomModel(*NetworkInfo::Create(RandomNetwork(seed)), at::kFloat, seed);
    SetRandomMasks(model, MaskKind::kUniform, seed);
    WeightedNetwork network = *ToWeightedNetwork(model);
    WriteForOnnxRuntime(network, Checked(network), absl::StrCat("random", seed));
    Compress(network, {});
    WriteForOnnxRuntime(network, Checked(network), absl::StrCat("random", seed, "_small"));
  }
}

// The attributes, in ONNX's order, by the node's name.
std::map<std::string, std::string> Attributes(const onnx::ModelProto& model) {
  std::map<std::string, std::string> texts;
  for (const onnx::NodeProto& node : model.graph().node()) {
    std::string& text = texts[node.name()];
    text = node.op_type();
    for (const onnx::AttributeProto& attribute : node.attribute()) {
      absl::StrAppend(&text, " ", attribute.name(), "=");
      if (attribute.type() == onnx::AttributeProto::INTS) absl::StrAppend(&text, absl::StrJoin(attribute.ints(), ","));
      if (attribute.type() == onnx::AttributeProto::INT) absl::StrAppend(&text, attribute.i());
      if (attribute.type() == onnx::AttributeProto::STRING) absl::StrAppend(&text, attribute.s());
    }
  }
  return texts;
}

TEST(OnnxExportTest, OperatorsOfRowsAndColumns) {
  const std::map<std::string, std::string> exported = {
      {"conv2d { out_channels: 4 kernel_height: 1 stride: 2 stride_width: 1 dilation_width: 2 pads: [1, 2, 3, 4] }",
       "Conv kernel_shape=1,3 strides=2,1 pads=1,2,3,4 dilations=1,2 group=1"},
      {"conv_transpose2d { out_channels: 4 groups: 2 kernel_height: 3 padding: 1 padding_width: 0 output_padding: 1 }",
       "ConvTranspose kernel_shape=3,2 strides=2,2 pads=1,0,1,0 output_padding=1,1 dilations=1,1 group=2"},
      {"max_pool2d { kernel: 3 kernel_width: 2 dilation: 2 }",
       "MaxPool kernel_shape=3,2 strides=2,2 pads=0,0,0,0 dilations=2,2"},
      // Of eight rows and seven columns the last windows begin at row 6 and column 6.
      {"max_pool2d { kernel: 3 ceil_mode: true }", "MaxPool kernel_shape=3,3 strides=2,2 pads=0,0,1,0"},
      {"average_pool2d { pads: [0, 1, 1, 0] }",
       "AveragePool kernel_shape=2,2 strides=2,2 pads=0,1,1,0 count_include_pad=1"},
      {"average_pool2d { kernel: 3 padding: 1 count_include_pad: false }",
       "AveragePool kernel_shape=3,3 strides=2,2 pads=1,1,1,1 count_include_pad=0"},
      {"resize { function: NEAREST height: 24 width: 14 }",
       "Resize mode=nearest coordinate_transformation_mode=asymmetric nearest_mode=floor"},
      {"resize { function: BILINEAR height: 5 width: 9 }",
       "Resize mode=linear coordinate_transformation_mode=half_pixel"},
      {"resize { function: BILINEAR_ALIGNED height: 5 width: 9 }",
       "Resize mode=linear coordinate_transformation_mode=align_corners"},
      {"pad { pads: [1, 2, 3, 0] function: REFLECT }", "Pad mode=reflect"},
      {"pad { pads: [1, 2, 3, 0] function: REPLICATE }", "Pad mode=edge"},
      {"pad { pads: [1, 2, 3, 0] value: 2 }", "Pad mode=constant"},
      {"adaptive_pool2d { function: AVERAGE height: 4 width: 7 }",
       "AveragePool kernel_shape=2,1 strides=2,1 pads=0,0,0,0 count_include_pad=0"},
      {"adaptive_pool2d { function: MAX }", "GlobalMaxPool"},
  };
  for (const auto& [op, wanted] : exported) {
    SCOPED_TRACE(op);
    Network text;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
        absl::StrCat("node { name: 'x' image { channels: 2 height: 8 width: 7 } } node { name: 'op' input: 'x' ", op,
                     " } node { name: 'flat' input: 'op' flatten {} }"),
        &text));
    const absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(text);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(Attributes(Checked(*ToWeightedNetwork(RandomModel(*info, at::kFloat, 1))))["op"], wanted);
  }
}

TEST(OnnxExportTest, SeveralOutputs) {
  NetworkWriter net;
  net.Image(2, 4, 4);
  net.Conv("conv", "image", {3, 3, 1, 1});
  net.Relu("relu", "conv");
  net.Constant("stored", 1, 4, 4);
  net.Flatten("flat", "relu");
  Network text = net.Take();
  for (const char* output : {"flat", "conv", "stored", "image"}) text.add_output(output);
  const WeightedNetwork network = *ToWeightedNetwork(RandomModel(*NetworkInfo::Create(text), at::kFloat, 1));
  const onnx::ModelProto model = Checked(network);
  WriteForOnnxRuntime(network, model, "several");
  std::vector<std::string> outputs;
  for (const onnx::ValueInfoProto& output : model.graph().output()) {
    outputs.push_back(absl::StrCat(output.name(), ":", output.type().tensor_type().shape().dim_size()));
  }
  EXPECT_EQ(absl::StrJoin(outputs, " "), "logits:2 conv:4 stored:4 image:4");
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
