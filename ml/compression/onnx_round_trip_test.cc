// What is exported can be imported again, and computes the same.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/onnx_export.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/plan.h"
#include "ml/models/mobilenet_v2.h"
#include "ml/models/resnet_cifar.h"
#include "ml/models/vgg.h"
#include "ml/onnx/testing/onnx_writer.h"

namespace prunelab {
namespace {

at::Tensor LogitsOf(const WeightedNetwork& network, const at::Tensor& images) {
  const at::NoGradGuard no_gradients;
  const Model single = ToModel(network, at::kCPU);
  Model model = Model::Create(single.info(), at::kDouble, at::kCPU);
  for (const NamedTensor& tensor : model.parameters()) tensor.tensor.detach().copy_(single.Get(tensor.name));
  for (const NamedTensor& tensor : model.buffers()) tensor.tensor.detach().copy_(single.Get(tensor.name));
  return ReferencePlan().Forward(model, images, {}).logits;
}

// In float64, of float32 weights.
void ExpectSameFunction(const WeightedNetwork& network) {
  const NetworkInfo info = network.Info();
  const NodeShape& in = info.input_shape();
  at::Generator generator = at::detail::createCPUGenerator(5);
  const at::Tensor images = at::randn({3, in.channels, in.height, in.width}, generator, at::kDouble);
  const at::Tensor wanted = LogitsOf(network, images), got = ImportedLogits(ToOnnx(network), images);
  ASSERT_EQ(got.sizes(), wanted.sizes());
  const double scale = 1 + wanted.abs().max().item<double>();
  EXPECT_LT((got - wanted).abs().max().item<double>(), 1e-5 * scale);
}

template <typename Parameters>
void CheckFamily(absl::StatusOr<Network> (*create)(const Parameters&, const ImageDefaults&), const std::string& text) {
  Parameters parameters;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &parameters));
  const absl::StatusOr<Network> network = create(parameters, {});
  ASSERT_TRUE(network.ok()) << network.status();
  Model model = RandomModel(*NetworkInfo::Create(*network), at::kFloat, 7);
  SetRandomMasks(model, MaskKind::kUniform, 11);
  WeightedNetwork weighted = *ToWeightedNetwork(model);
  ExpectSameFunction(weighted);
  Compress(weighted, {});
  ExpectSameFunction(weighted);
}

TEST(OnnxRoundTripTest, Families) {
  CheckFamily(CreateResNetCifar, "depth: 8 width: 4 image_size: 9");
  CheckFamily(CreateResNetCifar, "depth: 8 width: 4 image_size: 8 shortcut: PARAMETER_FREE");
  CheckFamily(CreateVgg, "depth: 11 width: 2");
  CheckFamily(CreateMobileNetV2, "stem: CIFAR width_multiplier: 0.2 image_size: 12");
}

TEST(OnnxRoundTripTest, NamesStay) {
  ResNetCifar parameters;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString("depth: 8 width: 4 image_size: 8", &parameters));
  const Model model = RandomModel(*NetworkInfo::Create(*CreateResNetCifar(parameters, {})), at::kFloat, 7);
  const Model again = ImportedModel(ToOnnx(*ToWeightedNetwork(model)));
  for (const NamedTensor& parameter : model.parameters()) {
    ASSERT_TRUE(again.Has(parameter.name)) << parameter.name;
    EXPECT_TRUE(at::equal(again.Get(parameter.name), parameter.tensor.to(at::kDouble))) << parameter.name;
  }
}

TEST(OnnxRoundTripTest, NetworksOfAllOperators) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    ExpectSameFunction(*ToWeightedNetwork(RandomModel(*NetworkInfo::Create(RandomNetwork(seed)), at::kFloat, seed)));
  }
}

}  // namespace
}  // namespace prunelab
